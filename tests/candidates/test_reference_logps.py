"""Perplexity of a generator on what people wrote: the model's own loss in transformers is the oracle."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.candidates.decode import decode_stage
from accord.candidates.generators.causal import CausalGenerator
from accord.candidates.generators.protocol import Generator
from accord.candidates.generators.seq2seq import Seq2SeqGenerator
from accord.candidates.reference_logps import reference_ids, reference_logps
from accord.candidates.select import select_best
from accord.candidates.settings import DecodeSettings
from accord.evaluation.metrics.all import METRICS
from accord.evaluation.metrics.metric import MetricInputs
from accord.evaluation.metrics.texts import Texts
from accord.json_files import read_json, read_jsonl
from accord.records import Output
from toys import save_tiny_causal_lm, tiny_bart, tiny_gpt2, tiny_llama, tiny_t5, word_tokenizer, write_rows

PROMPTS = ["i feel sad", "why", "what should i do ?"]
REFERENCES = [("sorry to hear that", "why"), (), ("i hear you , tell me more about the job",)]
MAKERS: dict[str, Callable[[], Generator]] = {
    "gpt2": lambda: CausalGenerator(tiny_gpt2(3), word_tokenizer()),
    "llama": lambda: CausalGenerator(tiny_llama(3), word_tokenizer()),
    "t5": lambda: Seq2SeqGenerator(tiny_t5(3), word_tokenizer(frame="$A </s>"), name="t5"),
    "bart": lambda: Seq2SeqGenerator(tiny_bart(3), word_tokenizer(frame="<s> $A </s>"), name="bart"),
}


def own_loss(generator: Generator, prompt: list[int], reference: list[int]) -> float:
    """−Σ log p of one reference, from transformers' `labels`."""
    model: Any = generator.model
    with torch.no_grad():
        if isinstance(generator, Seq2SeqGenerator):
            found = model(input_ids=torch.tensor([prompt]), labels=torch.tensor([reference]))
        else:
            labels = torch.tensor([[-100] * len(prompt) + reference])
            found = model(input_ids=torch.tensor([prompt + reference]), labels=labels)
    return float(found.loss) * len(reference)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("batch_tokens", [1, 10_000])
def test_it_is_the_models_own_loss(kind: str, batch_tokens: int) -> None:
    generator = MAKERS[kind]()
    prompts = [generator.prompt_ids(text) for text in PROMPTS]
    ids, n_cut = reference_ids(generator, prompts, REFERENCES, max_tokens=50)
    assert n_cut == 0
    found = reference_logps(generator, prompts, ids, batch_tokens=batch_tokens)
    assert found[1] is None
    for row, likely in enumerate(found):
        if likely is not None:
            expected = sum(own_loss(generator, prompts[row], reference) for reference in ids[row])
            assert -likely.sum_logps == pytest.approx(expected, rel=1e-5)
            assert likely.n_tokens == sum(map(len, ids[row]))
    assert all(reference[-1] == generator.eos_ids[0] for group in ids for reference in group)


def test_long_references_are_cut_and_counted() -> None:
    """The words and the end: 5, 2 and 11 tokens; GPT-2 of the tests has positions for 64."""
    generator = MAKERS["gpt2"]()
    prompts = [generator.prompt_ids(text) for text in PROMPTS]
    whole, _ = reference_ids(generator, prompts, REFERENCES, max_tokens=50)
    lengths = [[len(ids) for ids in group] for group in whole]
    cut, n_cut = reference_ids(generator, prompts, REFERENCES, max_tokens=5)
    assert [[len(ids) for ids in group] for group in cut] == [[min(5, n) for n in group] for group in lengths]
    assert n_cut == sum(n > 5 for group in lengths for n in group) == 1
    limit = generator.model.config.max_position_embeddings
    long = [[7] * (limit - 2), [7] * limit]
    no_room, n_cut = reference_ids(generator, long, [("sorry to hear that",)] * 2, max_tokens=50)
    assert [len(group[0]) for group in no_room] == [2, 0]
    assert n_cut == 2
    found = reference_logps(generator, long, no_room, batch_tokens=10)
    assert found[1] is None
    assert found[0] is not None
    assert found[0].n_tokens == 2


@pytest.fixture(scope="module")
def decoded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, DecodeSettings]:
    folder = tmp_path_factory.mktemp("decoded")
    model = save_tiny_causal_lm(folder / "model", seed=3)
    rows = [
        {"id": f"p{n}", "prompt": prompt, "references": list(references)}
        for n, (prompt, references) in enumerate(zip(PROMPTS, REFERENCES, strict=True))
    ]
    prompts = write_rows(folder / "prompts.jsonl", rows)
    settings = DecodeSettings(model=model, max_new_tokens=5, samples=2, max_reference_tokens=6)
    return decode_stage(prompts, system="toy", output_dir=folder / "out", settings=settings, seed=0), prompts, settings


def outputs_of(folder: Path) -> list[Output]:
    return list(read_jsonl(folder / "outputs.jsonl", Output))


def test_decoding_writes_it_beside_every_output(decoded: tuple[Path, Path, DecodeSettings], tmp_path: Path) -> None:
    """Whatever the batches; without the setting the rows are as they were."""
    folder, prompts, settings = decoded
    rows = outputs_of(folder)
    assert [row.reference_tokens for row in rows] == [7, 7, None, None, 6, 6]
    assert [row.reference_logp is None for row in rows] == [False, False, True, True, False, False]
    counts = {row["name"]: row["value"] for row in read_json(folder / "results.json")}
    assert counts["cut_references"] == 1
    other = decode_stage(
        prompts, system="toy", output_dir=tmp_path / "b", settings=replace(settings, batch_tokens=1), seed=0
    )
    for row, again in zip(rows, outputs_of(other), strict=True):
        assert again.completion == row.completion
        assert again.reference_logp == (None if row.reference_logp is None else pytest.approx(row.reference_logp))
    plain = replace(settings, max_reference_tokens=None)
    without = decode_stage(prompts, system="toy", output_dir=tmp_path / "c", settings=plain, seed=0)
    keys = {key for line in (without / "outputs.jsonl").read_text().splitlines() for key in json.loads(line)}
    assert not {"reference_logp", "reference_tokens"} & keys
    assert [row.completion for row in outputs_of(without)] == [row.completion for row in rows]


def cells(rows: Sequence[tuple[float | None, int | None]]) -> Texts:
    return Texts(
        [[Output(str(n), "x", "y", "s", reference_logp=a, reference_tokens=b)] for n, (a, b) in enumerate(rows)]
    )


def test_perplexity_by_hand() -> None:
    """Two prompts: −Σ log p of 2 over 4 tokens and 10 over 4: exp(12/8), not the mean of exp(0.5) and exp(2.5)."""
    metric = METRICS["perplexity"](MetricInputs())
    statistics = metric.per_prompt(cells([(-2.0, 4), (-10.0, 4), (None, None)]))
    assert math.isnan(statistics[2, 0])
    assert metric.combine(statistics[:2].sum(axis=0, keepdims=True)) == pytest.approx([math.exp(1.5)])
    assert metric.combine(statistics[:2]) == pytest.approx([math.exp(0.5), math.exp(2.5)])
    assert "eos:counted" in metric.signature
    assert "log:e" in metric.signature
    assert METRICS["perplexity"](MetricInputs()).combine(statistics[:2] * [[1e6, 1]])[1] == math.inf


def test_a_choice_among_texts_has_no_perplexity(decoded: tuple[Path, Path, DecodeSettings]) -> None:
    folder, _, _ = decoded
    best = select_best(outputs_of(folder), [0.0] * 6, 2, system="best")
    assert [(row.system, row.reference_logp, row.reference_tokens) for row in best] == [("best", None, None)] * 3
