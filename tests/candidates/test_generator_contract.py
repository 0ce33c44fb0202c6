"""What every generator promises, whatever its architecture: one suite for the causal and the seq2seq ones.

The oracle is the transformers model itself, called on one prompt and one completion: no padding, no cache.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.testing import assert_close

from accord.candidates.decode import Method, completions
from accord.candidates.generators.blender import BlenderGenerator, BlenderJointGenerator
from accord.candidates.generators.causal import CausalGenerator
from accord.candidates.generators.load import KINDS, load_generator
from accord.candidates.generators.multiesc import MultiEscGenerator
from accord.candidates.generators.protocol import Encoded, Generator
from accord.candidates.generators.seq2seq import Seq2SeqGenerator
from accord.candidates.logps import completion_logps
from accord.candidates.strategies import with_strategy
from accord.errors import DataError
from accord.records import Prompt
from toys import tiny_bart, tiny_blender, tiny_gpt2, tiny_joint, tiny_llama, tiny_multiesc, tiny_t5, word_tokenizer

MAKERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "gpt2": lambda: (tiny_gpt2(10), word_tokenizer()),
    "llama": lambda: (tiny_llama(7), word_tokenizer()),
    "t5": lambda: (tiny_t5(10), word_tokenizer(frame="$A </s>")),
    "t5-v1.1": lambda: (tiny_t5(4, gated=True), word_tokenizer(frame="$A </s>")),
    "bart": lambda: (tiny_bart(10), word_tokenizer(frame="<s> $A </s>")),
    "bart-forced": lambda: (tiny_bart(10, forced_start=True), word_tokenizer(frame="<s> $A </s>")),
    "blender-vanilla": lambda: (tiny_blender(10), word_tokenizer()),
    "blender-joint": lambda: tiny_joint(10),
    "multiesc": lambda: tiny_multiesc(14),
}
CLASSES: dict[str, Callable[..., Generator]] = {
    "blender-vanilla": BlenderGenerator,
    "blender-joint": BlenderJointGenerator,
    "multiesc": MultiEscGenerator,
}
"""Kinds that their architecture alone does not tell."""
TEXTS = ["i feel sad", "my mother lost the job yesterday and i feel very tired", "why", "what should i do ?"]
PROMPTS = [[10, 11, 12, 13], [20], [30, 31, 32, 33, 34, 35, 36]]
COMPLETIONS = [[[14, 15, 5], [16, 5], [17, 18, 19, 22, 5]], [[23, 24, 25, 5]], [[5], [36, 37, 5]]]
METHODS: list[Method] = ["diverse_beam", "beam", "greedy", "sample"]


def build(kind: str) -> Generator:
    model, tokenizer = MAKERS[kind]()
    plain = Seq2SeqGenerator if model.config.is_encoder_decoder else CausalGenerator
    return CLASSES.get(kind, plain)(model, tokenizer, name=kind)


@pytest.fixture(params=MAKERS, scope="module")
def generator(request: pytest.FixtureRequest) -> Generator:
    return build(request.param)


def plain_logits(generator: Generator, prompt: list[int], completion: list[int]) -> Tensor:
    """Logits that predict each token of `completion`, [T, V], from one forward pass over one row."""
    if isinstance(generator, Seq2SeqGenerator):
        decoder_ids = torch.tensor([[*generator.start_ids, *completion[:-1]]])
        logits: Tensor = generator.model(input_ids=torch.tensor([prompt]), decoder_input_ids=decoder_ids).logits[0]
    else:
        logits = generator.model(input_ids=torch.tensor([prompt + completion[:-1]])).logits[0]
    return logits[-len(completion) :]


def plain_logps(generator: Generator) -> Tensor:
    """Log-probabilities of all tokens of COMPLETIONS, each completion read alone after its prompt, [T]."""
    rows = [
        plain_logits(generator, prompt, completion).log_softmax(-1)[range(len(completion)), completion]
        for prompt, group in zip(PROMPTS, COMPLETIONS, strict=True)
        for completion in group
    ]
    return torch.cat(rows)


def shared_logps(generator: Generator) -> Tensor:
    """The same from `completion_states` and `output_logits`."""
    targets = torch.tensor([token for group in COMPLETIONS for completion in group for token in completion])
    logits = generator.output_logits(generator.completion_states(PROMPTS, COMPLETIONS))
    return logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]


def asked(generator: Generator, texts: list[str]) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids and forced prefix of each text; generators that take strategies are given different ones."""
    prompts: list[Prompt] = list(texts)
    if generator.takes_strategy:
        names = ("Question", "Others", "Self-disclosure", "Reflection of feelings")
        prompts = [with_strategy(text, names[len(text) % 4]) for text in texts]
    return [generator.prompt_ids(one) for one in prompts], [generator.forced_prefix(one) for one in prompts]


def found(generator: Generator, texts: list[str], method: Method) -> Any:
    prompts, prefixes = asked(generator, texts)
    return completions(
        generator, prompts, texts, method=method, n=4, max_new_tokens=9, diversity_penalty=2.0, prefixes=prefixes
    )


@torch.no_grad()
def test_padding_and_neighbours_do_not_move_logits(generator: Generator) -> None:
    encoded = generator.encode(PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        assert_close(encoded.logits[row], plain_logits(generator, prompt, [9])[0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_steps_equal_teacher_forcing(generator: Generator) -> None:
    encoded = generator.encode(PROMPTS)
    completion = [40, 41, 42, 43, 44]
    steps = [encoded.logits, *(encoded.step(torch.tensor([token] * 3)) for token in completion[:-1])]
    for row, prompt in enumerate(PROMPTS):
        expected = plain_logits(generator, prompt, completion)
        assert_close(torch.stack([logits[row] for logits in steps]), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_expanded_and_reordered_rows_go_on_as_they_were(generator: Generator) -> None:
    """Rows 0 0 1 1 2 2 take tokens 40…45; places change within the prompts; then 5 0 2 2 remain and take 50…53.

    Whatever moves, a row's logits are the ones it had: bit for bit before the next step.
    """
    encoded = generator.encode(PROMPTS)
    before = encoded.logits
    encoded.expand(2)
    assert torch.equal(encoded.logits, before.repeat_interleave(2, dim=0))
    logits = encoded.step(torch.tensor([40, 41, 42, 43, 44, 45]))
    for rows in ([1, 0, 2, 3, 5, 4], [4, 1, 2, 2]):  # of one prompt each; then old rows 5 0 2 2
        encoded.reorder(torch.tensor(rows))
        logits = logits[rows]
        assert torch.equal(encoded.logits, logits)
    logits = encoded.step(torch.tensor([50, 51, 52, 53]))
    written = [(2, [45, 50]), (0, [40, 51]), (1, [42, 52]), (1, [42, 53])]
    for row, (prompt, tokens) in enumerate(written):
        assert_close(logits[row], plain_logits(generator, PROMPTS[prompt], [*tokens, 9])[-1], atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("method", METHODS)
def test_a_batch_writes_what_each_prompt_gets_alone(generator: Generator, method: Method) -> None:
    """Candidates are the same, their log-probabilities too, and those are what calibration computes for these ids.

    No candidate holds a forbidden token, and its forced prefix neither counts nor stands in it.
    """
    together = found(generator, TEXTS, method)
    for text, prompt, prefix, row in zip(TEXTS, *asked(generator, TEXTS), together, strict=True):
        (alone,) = found(generator, [text], method)
        assert [one.ids for one in row] == [one.ids for one in alone]
        assert [one.sum_logp for one in row] == pytest.approx([one.sum_logp for one in alone], abs=1e-4)
        logps = completion_logps(generator, [prompt], [[[*prefix, *one.ids] for one in row]])
        assert [one.sum_logp for one in row] == pytest.approx(logps.sum_logps[0].tolist(), abs=1e-4)
        assert [len(one.ids) for one in row] == logps.n_tokens[0].tolist()
        for one in row:
            assert not set(one.ids) & set(generator.forbidden_tokens)
            assert [token in generator.eos_ids for token in one.ids] == [False] * (len(one.ids) - 1) + [one.is_finished]
    assert len({one.ids for row in together for one in row}) > 3


def test_greedy_decoding_equals_generate(generator: Generator) -> None:
    """One token more there, because a forced end would take the last place (see `Seq2SeqGenerator`)."""
    start = len(generator.start_ids) if isinstance(generator, Seq2SeqGenerator) else 0
    for prompt, prefix, (one,) in zip(*asked(generator, TEXTS), found(generator, TEXTS, "greedy"), strict=True):
        forced: dict[str, Any] = {}
        if prefix and isinstance(generator, Seq2SeqGenerator):
            forced = {"decoder_input_ids": torch.tensor([[*generator.start_ids, *prefix]])}
        rows = generator.model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            do_sample=False,
            max_new_tokens=9 + 1 + max(0, start - 1),
            eos_token_id=list(generator.eos_ids),
            pad_token_id=generator.pad_id,
            suppress_tokens=list(generator.forbidden_tokens) or None,
            **forced,
        )
        assert list(one.ids) == rows[0, (start or len(prompt)) + len(prefix) :].tolist()[:9]


@torch.no_grad()
def test_states_shared_by_a_prompts_completions_give_the_plain_numbers(generator: Generator) -> None:
    assert_close(shared_logps(generator), plain_logps(generator), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("adapted", [False, True])
def test_gradients_equal_those_of_one_row_per_completion(kind: str, adapted: bool) -> None:
    """Of every weight, or of an adapter on every linear map."""
    generator: Any = build(kind)
    if adapted:
        config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
        config.fan_in_fan_out = kind == "gpt2"
        torch.manual_seed(0)
        generator.model = get_peft_model(generator.model, config).eval()
    parameters = [value for value in generator.model.parameters() if value.requires_grad]
    weights = torch.linspace(-1, 2, sum(len(completion) for group in COMPLETIONS for completion in group))
    gradients = partial(torch.autograd.grad, inputs=parameters, allow_unused=True, materialize_grads=True)
    ours = gradients((weights * shared_logps(generator)).sum())
    theirs = gradients((weights * plain_logps(generator)).sum())
    assert sum(float(gradient.abs().max() > 1e-3) for gradient in theirs) > 0.5 * len(parameters)
    for our_gradient, their_gradient in zip(ours, theirs, strict=True):
        scale = max(1.0, float(their_gradient.abs().max()))
        assert_close(our_gradient, their_gradient, atol=1e-4 * scale, rtol=1e-4)


@torch.no_grad()
def test_save_and_reload_is_exact(generator: Generator, tmp_path: Path) -> None:
    generator.model.save_pretrained(tmp_path)
    generator.tokenizer.save_pretrained(tmp_path)
    reloaded = load_generator(str(tmp_path), kind=generator.name if generator.name in KINDS else "auto", device="cpu")
    assert type(reloaded) is type(generator)
    assert torch.equal(shared_logps(reloaded), shared_logps(generator))
    assert asked(reloaded, TEXTS) == asked(generator, TEXTS)
    assert found(reloaded, TEXTS, "diverse_beam") == found(generator, TEXTS, "diverse_beam")


@torch.no_grad()
@pytest.mark.parametrize("kind", MAKERS)
def test_an_adapters_folder_loads_with_its_base(kind: str, tmp_path: Path) -> None:
    generator: Any = build(kind)
    generator.model.save_pretrained(tmp_path / "base")
    generator.tokenizer.save_pretrained(tmp_path / "base")
    plain = shared_logps(generator)
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, fan_in_fan_out=kind == "gpt2")
    generator.model = get_peft_model(generator.model, config).eval()
    generator.model.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    generator.model.save_pretrained(tmp_path / "adapter")
    reloaded = load_generator(str(tmp_path / "adapter"), device="cpu")
    assert torch.equal(shared_logps(reloaded), shared_logps(generator))
    assert (shared_logps(reloaded) - plain).abs().max() > 1e-2


def test_a_completion_ends_once_and_reads_as_it_was(generator: Generator) -> None:
    for text in ("that sounds hard .", "that sounds hard . </s>"):
        ids = generator.completion_ids(text)
        assert [token in generator.eos_ids for token in ids] == [False] * (len(ids) - 1) + [True], text
        assert ids[-1] == generator.eos_ids[0]
        assert generator.text(ids) == "that sounds hard ."


def test_layers_are_the_models_own(generator: Generator) -> None:
    modules = dict(generator.model.named_modules())
    assert all(modules[path] is layers for path, layers in generator.layer_stacks.items())
    causal = {"gpt2": [2], "llama": [3]}
    sizes = causal | {"t5": [3, 3], "bart": [2, 3], "blenderbot-small": [2, 3], "accord_multiesc": [2, 3]}
    assert [len(layers) for layers in generator.layer_stacks.values()] == sizes[generator.model.config.model_type]


def test_prompts_without_completions_give_no_states(generator: Generator) -> None:
    assert generator.completion_states([[10, 11]], [[]]).shape == (0, 32)
    assert generator.completion_states([[10, 11], [12]], [[], [[13, 5]]]).shape == (2, 32)


def test_empty_prompts_and_completions_are_named(generator: Generator) -> None:
    with pytest.raises(DataError, match="prompt 1 has no tokens"):
        generator.completion_states([[10], []], [[[5]], [[5]]])
    with pytest.raises(DataError, match="completion 1 of prompt 0 has no tokens"):
        generator.completion_states([[10]], [[[5], []]])


def test_encoded_is_what_the_search_asks_for(generator: Generator) -> None:
    encoded: Encoded = generator.encode(PROMPTS)
    assert encoded.logits.shape == (3, generator.model.config.vocab_size)
    assert encoded.logits.dtype == torch.float32
    assert not encoded.logits.requires_grad
