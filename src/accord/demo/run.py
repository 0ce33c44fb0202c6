"""`accord demo`: the whole chain on the embedded sample, judged by a simulated panel whose truth is known."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec

from accord.artifacts import open_stage
from accord.calibration.settings import CalibrateSettings
from accord.candidates.settings import DecodeSettings, GenerateSettings, RerankSettings
from accord.data.settings import PrepareSettings
from accord.demo.pack import demo_items, demo_prompts
from accord.demo.panel import rules_markdown, true_acceptance
from accord.json_files import read_jsonl, write_jsonl
from accord.pipeline import Measure, PipelineSettings, Run, run_pipeline
from accord.preference.settings import FitSettings
from accord.randomness import keyed_rng
from accord.records import Output, Split
from accord.report.settings import ReportSettings

VERSION = 1
GENERATOR = "builtin:smollm2"
SYSTEM_PROMPT = "You are a warm, supportive listener. Reply in one or two short sentences."
N_DEV, N_TEST = 12, 40
NEW_TOKENS = 32
SAMPLES = 4


def demo_settings(data_dir: Path) -> PipelineSettings:
    """The demo's configuration; the first half of the panel calibrates, the second half evaluates."""
    fit = FitSettings(
        model="builtin:minilm",
        encoder_layers=3,
        learning_rate=1e-4,
        weight_decay=1.0,
        dropout=0.5,
        epochs=40,
        eval_every=4,
        patience=20,
    )
    return PipelineSettings(
        source=data_dir / "items.jsonl",
        prompts=data_dir / "prompts.jsonl",
        test_prompts=data_dir / "test_prompts.jsonl",
        prepare=PrepareSettings(scheme="acceptable"),
        fit=replace(fit, annotators=("A*",)),
        independent=replace(fit, annotators=("B*",)),
        generate=GenerateSettings(
            model=GENERATOR,
            system_prompt=SYSTEM_PROMPT,
            num_candidates=6,
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=6,
            diversity_penalty=2.0,
            no_repeat_ngram_size=3,
        ),
        calibrate=CalibrateSettings(
            model=GENERATOR,
            system_prompt=SYSTEM_PROMPT,
            learning_rate=1e-3,
            margin=0.02,
            epochs=2.0,
            eval_every=5,
            patience=None,
        ),
        decode=DecodeSettings(
            model=GENERATOR,
            system_prompt=SYSTEM_PROMPT,
            max_new_tokens=NEW_TOKENS,
            samples=SAMPLES,
            temperature=0.7,
            no_repeat_ngram_size=3,
            trim_unfinished=True,
        ),
        rerank=RerankSettings(k=6, picks=2),
        report=ReportSettings(title="accord demo: a simulated panel"),
    )


class DemoBase(NamedTuple):
    """What the demo gives the chain: its configuration, the truth of every output, and the panel's rules."""

    settings: PipelineSettings
    measure: Measure
    notes: Path


def demo_base(output_dir: Path, *, seed: int) -> DemoBase:
    """Write the sample pack with the panel's votes below `output_dir`, and say what is to be done with them."""
    data_dir = _data_stage(output_dir / "data" / "{fingerprint}", seed=seed)
    return DemoBase(
        demo_settings(data_dir),
        lambda outputs: [_truth_stage(outputs, output_dir / "truth" / "{fingerprint}") / "truth.jsonl"],
        data_dir / "panel.md",
    )


def run_demo(
    output_dir: Path,
    *,
    seed: int = 0,
    change: Callable[[PipelineSettings], PipelineSettings] = lambda settings: settings,
    say: Callable[[str], None] | None = None,
) -> Run:
    """Run the demo on the sample pack; `change` edits its configuration, e.g. to try another generator."""
    base = demo_base(output_dir, seed=seed)
    return run_pipeline(
        change(base.settings), output_dir=output_dir, seed=seed, measure=base.measure, notes=base.notes, say=say
    )


def demo_splits(seed: int) -> dict[str, Split]:
    """Message id -> split: 12 fixed messages for dev, a random 40 of the others for test, the rest train.

    The dev messages are the same for every seed, so that settings chosen on them have seen no seed's test messages.
    """
    ids = [row.id for row in demo_prompts()]
    dev = {ids[int(k)] for k in keyed_rng(0, "demo", "dev").permutation(len(ids))[:N_DEV]}
    others = [name for name in ids if name not in dev]
    test = {others[int(k)] for k in keyed_rng(seed, "demo", "test").permutation(len(others))[:N_TEST]}
    return {name: "dev" if name in dev else "test" if name in test else "train" for name in ids}


def _data_stage(output_dir: Path, *, seed: int) -> Path:
    """The pack with the panel's votes, as files that the chain reads like anybody's."""
    settings = {"panel": rules_markdown(), "n_dev": N_DEV, "n_test": N_TEST}
    stage = open_stage(output_dir, stage="demo_data", version=VERSION, settings=settings, seed=seed, inputs={})
    if stage.is_complete:
        return stage.folder
    splits = demo_splits(seed)
    items = (msgspec.structs.replace(item, split=splits[str(item.group)]) for item in demo_items(seed))
    write_jsonl(stage.path("items.jsonl"), items)
    prompts = [msgspec.structs.replace(row, split=splits[row.id]) for row in demo_prompts()]
    write_jsonl(stage.path("prompts.jsonl"), (row for row in prompts if row.split != "test"))
    write_jsonl(stage.path("test_prompts.jsonl"), (row for row in prompts if row.split == "test"))
    stage.path("panel.md").write_text(rules_markdown(), encoding="utf-8")
    stage.finish()
    return stage.folder


def _truth_stage(outputs: Sequence[Path], output_dir: Path) -> Path:
    """What the whole simulated panel thinks of every output: the share that would accept it."""
    inputs = {folder.parent.name + str(number): folder for number, folder in enumerate(outputs)}
    stage = open_stage(
        output_dir, stage="demo_truth", version=VERSION, settings={"panel": rules_markdown()}, seed=0, inputs=inputs
    )
    if not stage.is_complete:
        rows = (row for folder in outputs for row in read_jsonl(folder / "outputs.jsonl", Output))
        write_jsonl(stage.path("truth.jsonl"), (_truth_row(row) for row in rows))
        stage.finish()
    return stage.folder


def _truth_row(row: Output) -> dict[str, str | int | float]:
    assert not isinstance(row.prompt, str), "the demo's prompts are chats"
    message = next(turn.content for turn in row.prompt if turn.role == "user")
    truth = true_acceptance(message, row.completion)
    return {"id": row.id, "system": row.system, "seed": row.seed, "sample": row.sample, "true_acceptance": truth}
