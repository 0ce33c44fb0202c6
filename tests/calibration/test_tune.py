"""Supervised tuning as a stage, on tiny random generators: what is computed, what is written, what is refused."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers.trainer_pt_utils import LabelSmoother

from accord.calibration.references import TuneExample, encode_references
from accord.calibration.settings import TuneSettings
from accord.calibration.token_loss import reference_token_loss, token_losses, validation
from accord.calibration.tune import tune_stage
from accord.candidates.generators.load import load_generator
from accord.candidates.generators.protocol import FreelyWritten
from accord.candidates.logps import target_logps
from accord.errors import ArtifactError, ConfigError, DataError
from accord.json_files import read_json, write_jsonl
from accord.records import PromptRow, Split
from accord.training.batches import step_indices
from toys import save_tiny_causal_lm, save_tiny_seq2seq

REPLIES = ("sorry to hear that .", "that sounds really hard .", "what did you feel , friend ?")


def toy_rows(n_prompts: int = 12) -> list[PromptRow]:
    """A prompt's word says which reply it gets; every fourth prompt validates, every fifth has two references."""
    return [
        PromptRow(
            id=f"p{number}",
            prompt=f"i feel {('sad', 'tired', 'lost')[number % 3]} about my {('work', 'home')[number % 2]} .",
            references=(REPLIES[number % 3], "tell me more .")[: 2 if number % 5 == 4 else 1],
            group=f"g{number}",
            split="dev" if number % 4 == 3 else "train",
        )
        for number in range(n_prompts)
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_causal_lm(tmp_path_factory.mktemp("generator"))


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "prompts.jsonl", toy_rows())
    return tmp_path / "prompts.jsonl"


def toy_settings(model: str, **changes: Any) -> TuneSettings:
    base = TuneSettings(model=model, learning_rate=3e-3, epochs=6, batch_size=3, micro_batch_size=2, eval_every=3)
    return dataclasses.replace(base, **changes)


def results(folder: Path) -> dict[tuple[str, str], float]:
    return {(row["name"], row["system"]): row["value"] for row in read_json(folder / "results.json")}


def curve(folder: Path) -> list[dict[str, float]]:
    return [msgspec.json.decode(line) for line in (folder / "curve.jsonl").read_bytes().splitlines()]


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_references_get_likelier(kind: str, tuning: str, model: str, prompts: Path, tmp_path: Path) -> None:
    base = model if kind == "causal" else save_tiny_seq2seq(tmp_path / "t5")
    settings = toy_settings(base, tuning=tuning, lora_r=4, learning_rate=1e-2)
    folder = tune_stage(prompts, output_dir=tmp_path / "out", settings=settings, seed=1)
    found = results(folder)
    assert found["validation_loss", "tuned"] < 0.7 * found["validation_loss", "base"]
    assert found["perplexity", "tuned"] == pytest.approx(math.exp(found["validation_loss", "tuned"]))
    difference = found["perplexity", "tuned"] - found["perplexity", "base"]
    assert found["perplexity", "tuned - base"] == pytest.approx(difference)
    assert (folder / "generator" / "model.safetensors").is_file()  # whole, an adapter merged
    card = (folder / "generator" / "README.md").read_text()
    assert "trained with accord on texts that people wrote" in card
    assert str(tmp_path) not in card
    assert saved_loss(folder) == pytest.approx(found["validation_loss", "tuned"], abs=1e-5)
    counts = read_json(folder / "training.json")
    assert (counts["n_train"], counts["n_dev"], counts["n_not_used"]) == (9, 3, 0)
    assert counts["n_references"] == 14
    rows = curve(folder)
    assert [row["step"] for row in rows][:2] == [0, 3]
    assert counts["best_validation_loss"] == min(row["validation_loss"] for row in rows)
    assert found["validation_loss", "tuned"] == counts["best_validation_loss"]
    assert not (folder / "scratch").exists()


def saved_loss(folder: Path) -> float:
    """The validation loss of what was saved, read again."""
    generator = load_generator(str(folder))
    dev = [
        example(row.id, [generator.completion_ids(text) for text in row.references], generator.prompt_ids(row.prompt))
        for row in toy_rows()
        if row.split == "dev"
    ]
    return token_losses(generator, dev, micro_batch_size=8).mean


class TableReader(FreelyWritten):
    """States are indices of rows of a table of logits; nothing else happens."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def completion_states(self, prompt_ids: Any, completion_ids: Any) -> Tensor:  # noqa: ARG002 -- the protocol's
        n_tokens = sum(len(ids) for group in completion_ids for ids in group)
        return torch.eye(len(self.logits))[:n_tokens]

    def output_logits(self, states: Tensor) -> Tensor:
        return states @ self.logits


def example(name: str, references: list[list[int]], prompt: Sequence[int] = (1,)) -> TuneExample:
    return TuneExample(name, name, list(prompt), references, 0, 0)


def test_the_loss_by_hand() -> None:
    """Three tokens with p = ½, ¼ and ¾ in references of two and one tokens, of two prompts.

    The sum is ln 2 + ln 4 + ln(4/3) over three tokens: neither references nor prompts are averaged first.
    """
    logits = torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.25, 0.75]]).log()
    batch = [example("a", [[0, 0]]), example("b", [[1]])]
    found = reference_token_loss(TableReader(logits), batch, label_smoothing=0.0)
    assert float(found.loss) == pytest.approx(math.log(2 * 4 * 4 / 3), rel=1e-6)
    assert found.weight == 3.0
    by_prompt = token_losses(TableReader(logits), batch, micro_batch_size=2)
    assert by_prompt.sums == pytest.approx([math.log(8), math.log(4 / 3)], rel=1e-6)
    assert by_prompt.mean == pytest.approx(math.log(32 / 3) / 3, rel=1e-6)


def test_label_smoothing_by_hand() -> None:
    """p = (¼, ¾), target 0, ε = 0.2: −0.8 ln ¼ − 0.1 (ln ¼ + ln ¾)."""
    reader = TableReader(torch.tensor([[0.25, 0.75]]).log())
    found = reference_token_loss(reader, [example("a", [[0]])], label_smoothing=0.2)
    assert float(found.loss) == pytest.approx(-0.9 * math.log(0.25) - 0.1 * math.log(0.75), rel=1e-6)


@pytest.mark.parametrize("kept_bytes", [0, 4 * 7 * 9, 1 << 20])
@pytest.mark.parametrize("head_trains", [False, True])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 0.7])
def test_label_smoothing_equals_transformers(label_smoothing: float, head_trains: bool, kept_bytes: int) -> None:
    """Loss and gradient, through the frozen head's short cut and through a head that trains, whose logits are all
    computed again, kept for two of three chunks, or kept."""
    rng = torch.Generator().manual_seed(3)
    states = torch.randn(11, 5, generator=rng, requires_grad=True)
    head = torch.randn(7, 5, generator=rng, requires_grad=head_trains)
    targets = torch.randint(7, (11,), generator=rng)
    n_rows_read = []

    def logits(rows: torch.Tensor) -> torch.Tensor:
        n_rows_read.append(len(rows))
        return rows @ head.T

    logps = target_logps(
        states, targets, logits, label_smoothing=label_smoothing, chunk_tokens=4, kept_bytes=kept_bytes
    )
    expected = LabelSmoother(epsilon=label_smoothing)({"logits": (states @ head.T)[None]}, targets[None])
    torch.testing.assert_close(-logps.mean(), expected, atol=1e-6, rtol=1e-6)
    inputs = [states, head] if head_trains else [states]
    for ours, theirs in zip(
        torch.autograd.grad(-logps.mean(), inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    again = {0: [4, 4, 3], 4 * 7 * 9: [3], 1 << 20: []}[kept_bytes] if head_trains else []
    assert n_rows_read[:4] == [1, 4, 4, 3]
    assert sorted(n_rows_read[4:]) == sorted(again)


def test_a_step_equals_the_loss_of_transformers(model: str, prompts: Path) -> None:
    """One plain row per reference through the model's own loss, which averages over the labelled tokens."""
    generator = load_generator(model)
    batch = [
        example(row.id, [generator.completion_ids(text) for text in row.references], generator.prompt_ids(row.prompt))
        for row in toy_rows()[:5]
    ]
    found = reference_token_loss(generator, batch, label_smoothing=0.0)
    rows = [(e.prompt_ids, ids) for e in batch for ids in e.reference_ids]
    width = max(len(prompt) + len(ids) for prompt, ids in rows)
    pad = [(*prompt, *ids, *[generator.pad_id] * (width - len(prompt) - len(ids))) for prompt, ids in rows]
    labels = torch.tensor(pad)
    for number, (prompt, ids) in enumerate(rows):
        labels[number, : len(prompt)] = -100
        labels[number, len(prompt) + len(ids) :] = -100
    loss = generator.model(input_ids=torch.tensor(pad), labels=labels).loss
    torch.testing.assert_close(found.loss / found.weight, loss, atol=1e-5, rtol=1e-5)


def test_micro_batches_take_the_same_path(model: str, prompts: Path, tmp_path: Path) -> None:
    """8 × 1 = 1 × 8, because tokens, not micro-batches, are averaged: these have references of unequal length."""
    states = []
    for size in (1, 8):
        settings = toy_settings(model, epochs=2, batch_size=8, micro_batch_size=size, max_grad_norm=1e6)
        folder = tune_stage(prompts, output_dir=tmp_path / str(size), settings=settings, seed=1)
        states.append(load_generator(str(folder)).model.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], atol=2e-4, rtol=1e-3)


def test_the_kept_weights_are_the_best_on_validation(model: str, prompts: Path, tmp_path: Path) -> None:
    """A learning rate that soon does harm: training stops early and the step before the harm is what is saved."""
    settings = toy_settings(model, learning_rate=0.03, epochs=40, eval_every=2, patience=3)
    folder = tune_stage(prompts, output_dir=tmp_path / "out", settings=settings, seed=1)
    counts, rows = read_json(folder / "training.json"), curve(folder)
    best = min(rows, key=lambda row: row["validation_loss"])
    assert counts["stopped_early"]
    assert rows[-1]["step"] == best["step"] + 3 * 2
    assert rows[-1]["validation_loss"] > best["validation_loss"]
    assert counts["best_step"] == best["step"] > 0
    assert saved_loss(folder) == pytest.approx(best["validation_loss"], abs=1e-5)


@pytest.mark.parametrize(
    ("start", "tuning", "step"), [("folder", "lora", 4), ("folder", "full", 0), ("bart", "full", 4)]
)
def test_resuming_equals_not_stopping(
    start: str, tuning: str, step: int, model: str, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = toy_settings(model, epochs=3, tuning=tuning, merge_adapter=False)
    if start == "bart":
        settings = scratch_settings("bart", epochs=3)
    whole = tune_stage(prompts, output_dir=tmp_path / "whole", settings=settings, seed=2)

    def interrupted(n_items: int, batch_size: int, number: int, *, seed: int) -> np.ndarray:
        if number == step:
            raise KeyboardInterrupt
        return step_indices(n_items, batch_size, number, seed=seed)

    monkeypatch.setattr("accord.training.epochs.step_indices", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune_stage(prompts, output_dir=tmp_path / "stopped", settings=settings, seed=2)
    monkeypatch.undo()
    assert (tmp_path / "stopped" / "scratch").is_dir()
    resumed = tune_stage(prompts, output_dir=tmp_path / "stopped", settings=settings, seed=2)
    weights = {"lora": "adapter_model", "full": "model"}[tuning]
    names = ("results.json", "curve.jsonl", "training.json", f"generator/{weights}.safetensors")
    for name in (*names, "generator/tokenizer.json"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes(), name


def test_finished_work_is_reused_and_other_settings_are_refused(model: str, prompts: Path, tmp_path: Path) -> None:
    settings = toy_settings(model, epochs=1)
    folder = tune_stage(prompts, output_dir=tmp_path / "out", settings=settings, seed=1)
    written = (folder / "manifest.json").stat().st_mtime_ns
    tune_stage(prompts, output_dir=tmp_path / "out", settings=settings, seed=1)
    assert (folder / "manifest.json").stat().st_mtime_ns == written
    other = dataclasses.replace(settings, label_smoothing=0.1)
    with pytest.raises(ArtifactError, match=r"settings\.label_smoothing \(0\.0 there, 0\.1 now\)"):
        tune_stage(prompts, output_dir=tmp_path / "out", settings=other, seed=1)
    with pytest.raises(ArtifactError, match=r"settings\.splits"):
        tune_stage(prompts, output_dir=tmp_path / "out", settings=settings, seed=1, splits=("train",))


def test_what_was_cut_and_left_out_is_counted(model: str, tmp_path: Path) -> None:
    """Eight tokens of prompt and four of a reference are kept; one row has no reference, one is of split test."""
    rows = toy_rows()
    rows[0] = msgspec.structs.replace(rows[0], references=())
    rows[1] = msgspec.structs.replace(rows[1], split="test")
    rows[2] = msgspec.structs.replace(rows[2], prompt="i feel so very sad and tired about my work today .")
    write_jsonl(tmp_path / "prompts.jsonl", rows)
    settings = toy_settings(model, epochs=1, max_prompt_tokens=8, max_reference_tokens=4, max_dev_prompts=2)
    folder = tune_stage(tmp_path / "prompts.jsonl", output_dir=tmp_path / "out", settings=settings, seed=1)
    counts = read_json(folder / "training.json")
    assert (counts["n_train"], counts["n_dev"], counts["n_not_used"]) == (7, 2, 3)
    assert (counts["n_without_references"], counts["n_without_room"], counts["n_prompts_cut"]) == (1, 0, 1)
    assert counts["n_references_cut"] == counts["n_references"]
    assert counts["n_train_tokens"] + counts["n_dev_tokens"] == 4 * counts["n_references"]


def test_a_cut_reference_is_not_taught_to_end(model: str) -> None:
    generator = load_generator(model)
    rows = [PromptRow("p", "i feel sad .", references=("sorry to hear that .", "sorry ."))]
    (found,) = encode_references(rows, generator, max_prompt_tokens=9, max_reference_tokens=3)
    assert found.n_cut_references == 1
    assert [ids[-1] == generator.eos_ids[0] for ids in found.reference_ids] == [False, True]


def test_a_prompt_that_leaves_no_room_is_left_out(model: str, tmp_path: Path) -> None:
    """The toy has 128 positions: a prompt of 128 tokens leaves none for a reference."""
    long = "i feel sad about my work . " * 20
    rows = [*toy_rows(), PromptRow("long", long, references=("sorry .",), split="train")]
    write_jsonl(tmp_path / "prompts.jsonl", rows)
    settings = toy_settings(model, epochs=1, max_prompt_tokens=128)
    folder = tune_stage(tmp_path / "prompts.jsonl", output_dir=tmp_path / "out", settings=settings, seed=1)
    counts = read_json(folder / "training.json")
    assert (counts["n_train"], counts["n_without_room"]) == (9, 1)
    only = [row if row.split == "dev" else msgspec.structs.replace(row, prompt=long) for row in toy_rows()]
    write_jsonl(tmp_path / "prompts.jsonl", only)
    with pytest.raises(
        DataError, match=r"^0 training and 3 validation prompts leave .* room for a reference\. Expected"
    ):
        tune_stage(tmp_path / "prompts.jsonl", output_dir=tmp_path / "none", settings=settings, seed=1)


def test_rows_without_a_split_train_and_splits_can_be_chosen(model: str, tmp_path: Path) -> None:
    rows = toy_rows()
    rows[0] = msgspec.structs.replace(rows[0], split=None)
    write_jsonl(tmp_path / "prompts.jsonl", rows)
    settings = toy_settings(model, epochs=1, dev_fraction=0.4)
    cases: list[tuple[tuple[Split, ...], tuple[int, int]]] = [(("train", "dev"), (9, 3)), (("train",), (5, 4))]
    for splits, expected in cases:
        folder = tune_stage(
            tmp_path / "prompts.jsonl", output_dir=tmp_path / splits[-1], settings=settings, seed=1, splits=splits
        )
        counts = read_json(folder / "training.json")
        assert (counts["n_train"], counts["n_dev"]) == expected


def test_what_cannot_be_tuned_is_refused(model: str, prompts: Path, tmp_path: Path) -> None:
    def refused(
        kind: type[Exception], text: str, path: Path = prompts, splits: Any = ("train",), **changes: Any
    ) -> None:
        settings = dataclasses.replace(toy_settings(model), **changes)
        with pytest.raises(kind, match=text):
            tune_stage(path, output_dir=tmp_path / "out", settings=settings, seed=1, splits=splits)

    refused(ConfigError, r"splits is \['test'\]\. Expected some of train, dev", splits=("test",))
    refused(ConfigError, r"tuning is 'full' and dtype is 'bfloat16'", dtype="bfloat16")
    refused(
        ConfigError,
        r"tuning is 'lora' and model is 'scratch:bart': .* Use --tuning full",
        model="scratch:bart",
        tuning="lora",
    )
    refused(
        ConfigError, r"model scratch:bert is unknown\. Expected one of scratch:bart, scratch:t5", model="scratch:bert"
    )
    refused(ConfigError, r"label_smoothing is 1\.0\. Expected a number from 0 to below 1", label_smoothing=1.0)
    bare, alone = tmp_path / "bare.jsonl", tmp_path / "alone.jsonl"
    write_jsonl(bare, [msgspec.structs.replace(row, references=()) for row in toy_rows()])
    refused(DataError, r"none of 9 prompts to tune on has references\. Expected the texts that people wrote", bare)
    write_jsonl(alone, toy_rows()[3:4])
    refused(DataError, r"0 training and 1 validation prompts among 1 rows", alone, ("train", "dev"))
    adapter = tune_stage(
        prompts, output_dir=tmp_path / "a", settings=toy_settings(model, tuning="lora", merge_adapter=False), seed=1
    )
    refused(ConfigError, r"is an adapter itself\. Expected a whole model", model=str(adapter))


def test_label_smoothing_keeps_the_validation_loss_plain(model: str, prompts: Path, tmp_path: Path) -> None:
    """Before training all is equal; afterwards a smoothed model is less sure of what it learnt."""
    found = [
        results(
            tune_stage(
                prompts,
                output_dir=tmp_path / str(smoothing),
                settings=toy_settings(model, label_smoothing=smoothing, learning_rate=1e-2),
                seed=1,
            )
        )
        for smoothing in (0.0, 0.3)
    ]
    assert found[0]["validation_loss", "base"] == found[1]["validation_loss", "base"]
    assert found[0]["validation_loss", "tuned"] < found[1]["validation_loss", "tuned"]


def scratch_settings(kind: str, **changes: Any) -> TuneSettings:
    base = TuneSettings(
        model=f"scratch:{kind}",
        scratch_width=32,
        scratch_layers=1,
        scratch_vocabulary=300,
        max_prompt_tokens=48,
        max_reference_tokens=32,
        epochs=4,
        batch_size=3,
        eval_every=3,
    )
    return dataclasses.replace(base, **changes)


class StrategyReader(TableReader):
    """The first token of a completion is given, and token 2 stands in no text."""

    forbidden_tokens = (2,)

    def loss_positions(self, completion_ids: Sequence[int]) -> range:
        return range(1, len(completion_ids))


def test_a_strategy_is_learnt_but_does_not_count_in_perplexity() -> None:
    """Rows (¼, ¼, ½) and (½, ¼, ¼), completion 2 0: learnt −ln ½ − ln ½; of the text alone −ln (½ / ¾), one token."""
    reader = StrategyReader(torch.tensor([[0.25, 0.25, 0.5], [0.5, 0.25, 0.25]]).log())
    batch = [example("a", [[2, 0]])]
    found = validation(reader, batch, micro_batch_size=1)
    assert found.learnt.mean == pytest.approx(math.log(2), rel=1e-6)
    assert found.text.mean == pytest.approx(math.log(1.5), rel=1e-6)
    assert (found.learnt.n_tokens[0], found.text.n_tokens[0]) == (2, 1)
    loss = reference_token_loss(reader, batch, label_smoothing=0.0)
    assert float(loss.loss / loss.weight) == pytest.approx(math.log(2), rel=1e-6)


def test_an_adapter_on_rounded_weights_is_merged_in_full_precision(model: str, prompts: Path, tmp_path: Path) -> None:
    """In bfloat16 most of what the adapter adds would be rounded away; alone it is small and names its base."""
    settings = toy_settings(model, tuning="lora", dtype="bfloat16", learning_rate=1e-2)
    folder = tune_stage(prompts, output_dir=tmp_path / "merged", settings=settings, seed=1)
    weights = load_file(folder / "generator" / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert saved_loss(folder) == pytest.approx(results(folder)["validation_loss", "tuned"], abs=0.03)
    alone = dataclasses.replace(settings, merge_adapter=False)
    folder = tune_stage(prompts, output_dir=tmp_path / "alone", settings=alone, seed=1)
    assert read_json(folder / "generator" / "adapter_config.json")["base_model_name_or_path"] == model
    assert not (folder / "generator" / "model.safetensors").exists()
