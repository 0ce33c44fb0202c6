"""How much work each hot path does, counted: tokens read, forward passes, padding.

Times differ from machine to machine, counts do not, so a path that grows slow shows here first.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from accord.calibration.adapter import add_adapter
from accord.calibration.frozen import with_frozen_layers_kept
from accord.candidates.decode import completions
from accord.candidates.diverse_beam import _Search
from accord.candidates.generators.causal import CausalGenerator
from accord.candidates.generators.seq2seq import Seq2SeqGenerator
from accord.candidates.generators.shared_prompts import OwnTokens
from accord.candidates.logps import completion_logps
from accord.data.prepare import prepare_stage
from accord.data.settings import PrepareSettings
from accord.preference.fit import fit_stage
from accord.preference.model import PreferenceConfig, PreferenceModel
from accord.preference.predict import LoadedPreferenceModel, encode_pairs
from accord.preference.settings import FitSettings
from accord.records import Prompt
from accord.scoring.score import score_pairs
from toys import (
    WORDS,
    save_tiny_encoder,
    tiny_bart,
    tiny_bert,
    tiny_llama,
    tiny_t5,
    toy_items,
    word_tokenizer,
    write_rows,
)

N_PROMPTS, N_PROMPT, N_CANDIDATES, N_COMPLETION, N_STEPS = 3, 12, 5, 6, 8
PROMPTS = [[10 + (n + k) % 80 for k in range(N_PROMPT)] for n in range(N_PROMPTS)]
COMPLETIONS = [
    [[20 + (7 * n + 3 * k + t) % 70 for t in range(N_COMPLETION)] for k in range(N_CANDIDATES)]
    for n in range(N_PROMPTS)
]
FEW_NUMBERS = {"expand", "gather", "new_zeros", "scatter_add_", "select", "slice", "unsqueeze", "view"}
"""Operations of torch that read few numbers of a tensor, or none."""


class Read(NamedTuple):
    """The shapes [rows, tokens] that a layer was given, one for each forward pass."""

    shapes: list[tuple[int, int]]

    @property
    def n_tokens(self) -> int:
        return sum(rows * tokens for rows, tokens in self.shapes)


@contextmanager
def counted(module: nn.Module) -> Iterator[Read]:
    """What goes through `module` (embeddings: token ids; layers: states) meanwhile."""
    read = Read([])

    def count(_: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        given: Tensor = arguments[0] if arguments else next(iter(options.values()))
        read.shapes.append((given.shape[0], given.shape[1]))

    handle = module.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield read
    finally:
        handle.remove()


class WholeReads(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """Names of the operations that read all of a tensor of `n_numbers` or more."""

    def __init__(self, n_numbers: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.n_numbers = n_numbers
        self.names: list[str] = []

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Sequence[Any] = (), options: dict[str, Any] | None = None
    ) -> Any:
        largest = max((one.numel() for one in arguments if isinstance(one, Tensor)), default=0)
        name = operation.overloadpacket.__name__
        if largest >= self.n_numbers and name not in FEW_NUMBERS:
            self.names.append(name)
        return operation(*arguments, **(options or {}))


def llama() -> CausalGenerator:
    return CausalGenerator(tiny_llama(), word_tokenizer(), chat=False)


def candidates(generator: Any) -> list[Any]:
    """N_STEPS tokens for every group, as none may end before."""
    names = [str(number) for number in range(N_PROMPTS)]
    return completions(
        generator, PROMPTS, names, method="diverse_beam", n=N_CANDIDATES, diversity_penalty=1.0,
        max_new_tokens=N_STEPS, min_new_tokens=N_STEPS,
    )  # fmt: skip


def test_calibration_reads_a_prompt_once_and_of_each_completion_all_but_the_last_token() -> None:
    """P + K · (C − 1) tokens a prompt, in one forward pass, nothing padded; one row per completion: K · (P + C − 1)."""
    generator = llama()
    with counted(generator.model.model.embed_tokens) as read:
        completion_logps(generator, PROMPTS, COMPLETIONS)
    assert read.shapes == [(N_PROMPTS, N_PROMPT + N_CANDIDATES * (N_COMPLETION - 1))]


def test_logits_exist_of_completion_tokens_alone() -> None:
    """K · C a prompt, besides the one state that asks whether the output layer is trained."""
    generator = llama().model.requires_grad_(False)
    reader = CausalGenerator(generator, word_tokenizer(), chat=False)
    n_states: list[int] = []
    generator.lm_head.register_forward_pre_hook(lambda _, inputs: n_states.append(len(inputs[0])))
    completion_logps(reader, PROMPTS, COMPLETIONS)
    assert sum(n_states) == 1 + N_PROMPTS * N_CANDIDATES * N_COMPLETION


def test_frozen_layers_read_a_row_in_the_first_step_alone() -> None:
    generator: Any = llama()
    generator.model = add_adapter(
        generator, lora_layers="upper_third", r=2, alpha=4.0, dropout=0.0, base_name="toy", seed=0
    )
    reader = with_frozen_layers_kept(generator, 2, prompt_ids=PROMPTS[0], completion_ids=COMPLETIONS[0])
    layers = generator.model.get_base_model().model.layers
    first, trained = layers[0], layers[2]
    with counted(first) as below:
        for _ in range(3):
            completion_logps(reader, PROMPTS, COMPLETIONS)
    assert len(below.shapes) == N_PROMPTS - 1  # the first prompt was read to see whether layers can be kept
    with counted(trained) as above:
        completion_logps(reader, PROMPTS, COMPLETIONS)
    assert len(above.shapes) == 1


@pytest.mark.parametrize("build", [tiny_t5, tiny_bart])
def test_an_encoder_reads_a_prompt_once_for_all_its_completions(build: Callable[[], Any]) -> None:
    """The decoder reads the start token once a prompt, then all but the last token of each completion."""
    generator = Seq2SeqGenerator(build(), word_tokenizer())
    encoder = next(iter(generator.layer_stacks.values()))[0]
    decoder = list(generator.layer_stacks.values())[-1][0]
    with counted(encoder) as encoded, counted(decoder) as decoded:
        completion_logps(generator, PROMPTS, COMPLETIONS)
    assert encoded.shapes == [(N_PROMPTS, N_PROMPT)]
    assert decoded.shapes == [(N_PROMPTS, 1), (N_PROMPTS * N_CANDIDATES, N_COMPLETION - 1)]


def test_diverse_beams_take_one_forward_pass_a_step_and_move_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass over the prompts, then one token of every beam a step; the last token is chosen and not read."""
    generator = llama()
    assert generator._shares_prompts
    moved: list[int] = []
    reorder = OwnTokens.reorder_cache

    def moving(self: OwnTokens, rows: Tensor) -> None:
        moved.append(self.get_seq_length())
        reorder(self, rows)

    monkeypatch.setattr(OwnTokens, "reorder_cache", moving)
    with counted(generator.model.model.embed_tokens) as read:
        candidates(generator)
    assert read.shapes == [(N_PROMPTS, N_PROMPT), *[(N_PROMPTS * N_CANDIDATES, 1)] * (N_STEPS - 1)]
    assert set(moved) == {N_PROMPT}  # at the start, when there is nothing to move yet


@pytest.mark.parametrize(("n", "beams_per_group"), [(5, 1), (10, 1), (10, 2)])
def test_groups_choose_without_another_look_at_the_vocabulary(
    n: int, beams_per_group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step normalises the logits once and goes through them once for the likeliest tokens, however many groups."""
    n_vocab = 12_000  # many more than all likely tokens of a prompt's rows with their blocks
    generator = CausalGenerator(tiny_llama(vocab_size=n_vocab), word_tokenizer(), chat=False)
    steps: list[list[str]] = []
    choose = _Search.choose

    def counting(self: _Search, step: int) -> None:
        with WholeReads(N_PROMPTS * n_vocab) as reads:
            choose(self, step)
        steps.append(reads.names)

    monkeypatch.setattr(_Search, "choose", counting)
    completions(
        generator, PROMPTS, ["a", "b", "c"], method="diverse_beam", n=n, beams_per_group=beams_per_group,
        diversity_penalty=4.0, max_new_tokens=N_STEPS, min_new_tokens=2,
    )  # fmt: skip
    assert steps == [["_log_softmax", "amax"]] * N_STEPS


@pytest.mark.parametrize("build", [tiny_t5, tiny_bart])
def test_diverse_beams_of_an_encoder_and_decoder_read_the_prompt_once(build: Callable[[], Any]) -> None:
    generator = Seq2SeqGenerator(build(), word_tokenizer())
    encoder = next(iter(generator.layer_stacks.values()))[0]
    decoder = list(generator.layer_stacks.values())[-1][0]
    with counted(encoder) as encoded, counted(decoder) as decoded:
        candidates(generator)
    assert encoded.shapes == [(N_PROMPTS, N_PROMPT)]
    assert decoded.shapes == [(N_PROMPTS, 1), *[(N_PROMPTS * N_CANDIDATES, 1)] * (N_STEPS - 1)]


def test_scoring_reads_no_padding() -> None:
    """400 texts whose lengths spread as texts do (log-normal): what an encoder like BERT reads is the tokens
    of the different ones."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(2.7, 0.6, size=400).astype(int), 1, 50)
    pairs: list[tuple[Prompt, str]] = [
        ("i feel sad", " ".join(WORDS[(n + k) % len(WORDS)] for k in range(length))) for n, length in enumerate(lengths)
    ]
    config = PreferenceConfig(id2label={0: "no", 1: "yes"}, acceptable=["yes"], head_size=8, max_input_tokens=64)
    model, tokenizer = PreferenceModel.from_encoder(tiny_bert(), config, seed=3), word_tokenizer(pair_template=True)
    with counted(model.encoder.embeddings.word_embeddings) as read:
        score_pairs(LoadedPreferenceModel(model, tokenizer), pairs, utility="logit", batch_tokens=1024)
    distinct = {pair.views[0].ids for pair in encode_pairs(model, tokenizer, pairs)}
    assert read.n_tokens == sum(len(ids) for ids in distinct)
    assert len(read.shapes) <= 2 * math.ceil(read.n_tokens / 1024)


def test_heads_on_a_frozen_encoder_read_every_text_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folds and steps read features; so does the next fit on the same items with another objective."""
    source = write_rows(tmp_path / "items.jsonl", toy_items())
    prepared = prepare_stage(source, output_dir=tmp_path / "prepared", settings=PrepareSettings(n_resamples=20), seed=0)
    settings = FitSettings(
        model=save_tiny_encoder(tmp_path / "encoder"), epochs=2, n_folds=2, n_resamples=20, max_length=64, head_size=4
    )
    n_read: list[int] = []
    vectors = PreferenceModel.vectors

    def count(self: PreferenceModel, **inputs: Tensor) -> Tensor:
        n_read.append(len(inputs["input_ids"]))
        return vectors(self, **inputs)

    monkeypatch.setattr(PreferenceModel, "vectors", count)
    monkeypatch.setattr("accord.preference.fit._LAST_FEATURES", {})  # another test's may be of the same items
    fit_stage(prepared, output_dir=tmp_path / "first", settings=settings, seed=0)
    items = toy_items()
    texts = {(item["prompt"], item["completion"]) for item in items}
    texts |= {item["prompt"] for item in items} | {item["completion"] for item in items}
    assert sum(n_read) == len(texts)
    fit_stage(prepared, output_dir=tmp_path / "second", settings=replace(settings, objective="soft_kl"), seed=1)
    assert sum(n_read) == len(texts)
