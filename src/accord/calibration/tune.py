"""`accord tune`: the generator learns to write what people wrote, before anything is known of who accepts what.

The story: prompts with references -> token ids -> all weights, or a LoRA adapter -> the one training loop, selected on
the validation loss -> the model, its curve, and its loss and perplexity before and after. It is calibration without
candidates: the same loop and the same log-probabilities.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from accord.artifacts import Stage, open_stage, settings_dict
from accord.calibration.adapter import SAVE, TUNED, require_trainable
from accord.calibration.before_after import before_after
from accord.calibration.examples import micro_batches
from accord.calibration.references import TuneExample, drawn_rows, encode_references, with_references
from accord.calibration.scratch import (
    ScratchKind,
    ScratchSize,
    require_scratch_size,
    scratch_kind,
    scratch_positions,
    write_scratch_model,
)
from accord.calibration.settings import TuneSettings
from accord.calibration.token_loss import Validation, perplexity, reference_token_loss, validation
from accord.calibration.trained_part import trained_part
from accord.candidates.generators.load import GENERATOR_FOLDER, load_chosen
from accord.candidates.logps import StateReader
from accord.candidates.prompts import read_prompts
from accord.errors import ConfigError, DataError
from accord.json_files import write_json, write_jsonl
from accord.pretrained import content_name
from accord.records import Measurement, PromptRow, Split
from accord.statistics.resampling import ratio
from accord.training.epochs import train_in_epochs
from accord.training.held_out import train_dev_rows
from accord.training.loop import LossSum, TrainingResult
from accord.training.processes import device, from_main

VERSION = 1
SPLITS: tuple[Split, ...] = ("train", "dev")


def tune_stage(
    prompts: Path, *, output_dir: Path, settings: TuneSettings, seed: int, splits: Sequence[Split] = SPLITS
) -> Path:
    """Tune a generator on references; writes generator/, curve.jsonl, results.json, training.json.

    Args:
        prompts: JSONL of PromptRow, or a prepared folder with prompts. Rows of split "train" (or none) train, rows of
            split "dev" validate (see `train_dev_rows`).
        seed: keys the adapter's start, the order of prompts, dropout, and held-out groups.
        splits: rows of other splits are not read; rows without a split always are.

    Returns:
        The stage's folder; finished work is reused, unfinished training goes on from its checkpoint.

    Raises:
        ConfigError: `splits` holds "test"; weights that cannot be trained. DataError: no references, or nobody to
            train or validate on.
    """
    require_trainable(settings.tuning, settings.dtype)
    _require_no_test(splits)
    _require_scratch(settings)
    stage = from_main(
        lambda: open_stage(
            output_dir,
            stage="tune",
            version=VERSION,
            settings={**settings_dict(settings), "splits": list(splits)},
            seed=seed,
            inputs={"prompts": prompts, "model": content_name(settings.model)},
        )
    )
    if not from_main(lambda: stage.is_complete):
        _tune(stage, prompts, settings, seed, splits)
    return stage.folder


def _tune(stage: Stage, prompts: Path, settings: TuneSettings, seed: int, splits: Sequence[Split]) -> None:
    rows = read_prompts(prompts)
    read = [row for row in rows if row.split is None or row.split in splits]
    referenced = with_references(read)
    split = train_dev_rows(referenced, dev_fraction=settings.dev_fraction, seed=seed)
    split = split._replace(dev=drawn_rows(split.dev, settings.max_dev_prompts, seed))
    start = from_main(lambda: _start(split.train, settings, seed, scratch_dir=stage.scratch_dir))
    generator = load_chosen(settings, model=start, device=str(device()))
    encode = partial(
        encode_references,
        generator=generator,
        max_prompt_tokens=settings.max_prompt_tokens,
        max_reference_tokens=settings.max_reference_tokens,
    )
    examples, dev = encode(split.train), encode(split.dev)
    _require_room(examples, dev, settings)
    longest = max(dev, key=lambda example: example.n_tokens)
    trained, reader = trained_part(
        generator,
        settings,
        base_name=settings.model,
        seed=seed,
        probe=(longest.prompt_ids, longest.reference_ids),
    )
    before = validation(reader, dev, micro_batch_size=settings.micro_batch_size)
    result = _train(trained, reader, examples, dev, settings, seed, checkpoint_dir=stage.scratch_dir)
    after = validation(reader, dev, micro_batch_size=settings.micro_batch_size)

    def write() -> None:
        folder = stage.path(GENERATOR_FOLDER)
        merged = settings.tuning == "lora" and settings.merge_adapter
        model = trained.float().merge_and_unload() if merged else trained  # bfloat16 would round the adapter away
        save = SAVE["full" if merged else settings.tuning]
        save(model, generator.tokenizer, folder, base_name=settings.model, story=TUNED)
        write_jsonl(stage.path("curve.jsonl"), result.curve)
        write_json(stage.path("results.json"), _measurements(before, after, dev, seed))
        left_out = {
            "n_not_used": len(rows) - len(examples) - len(dev),
            "n_without_references": len(read) - len(referenced),
            "n_without_room": len(split.train) + len(split.dev) - len(examples) - len(dev),
        }
        write_json(stage.path("training.json"), _counts(result, examples, dev, left_out))
        stage.finish()

    from_main(write)


def _train(
    trained: Any,
    reader: StateReader,
    examples: Sequence[TuneExample],
    dev: Sequence[TuneExample],
    settings: TuneSettings,
    seed: int,
    *,
    checkpoint_dir: Path,
) -> TrainingResult:
    def loss_of(batch: Sequence[TuneExample]) -> LossSum:
        return reference_token_loss(reader, batch, label_smoothing=settings.label_smoothing)

    def evaluate() -> dict[str, float]:
        found = validation(reader, dev, micro_batch_size=settings.micro_batch_size)
        return {"validation_loss": found.learnt.mean, "perplexity": math.exp(found.text.mean)}

    return train_in_epochs(
        trained,
        examples,
        settings=settings,
        learning_rate=settings.resolved_learning_rate,
        micro_batches=lambda _, chosen: micro_batches(chosen, settings.micro_batch_size),
        loss_of=loss_of,
        evaluate=evaluate,
        select_on="validation_loss",
        seed=seed,
        checkpoint_dir=checkpoint_dir,
        label="Tuning",
    )


def _require_no_test(splits: Sequence[Split]) -> None:
    if not splits or not set(splits) <= set(SPLITS):
        raise ConfigError(
            f"splits is {list(splits)}. Expected some of {', '.join(SPLITS)}: what is tested on takes no part."
        )


def _require_scratch(settings: TuneSettings) -> None:
    """Raises ConfigError: a model from scratch that cannot be made, or whose random weights would be frozen."""
    kind = scratch_kind(settings.model)
    if kind is None:
        return
    require_scratch_size(_scratch_size(kind, settings))
    if settings.tuning == "lora":
        raise ConfigError(
            f"tuning is 'lora' and model is {settings.model!r}: all weights but the adapter's would stay random. "
            "Use --tuning full."
        )


def _scratch_size(kind: ScratchKind, settings: TuneSettings) -> ScratchSize:
    positions = scratch_positions(
        kind, max_prompt_tokens=settings.max_prompt_tokens, max_reference_tokens=settings.max_reference_tokens
    )
    return ScratchSize(settings.scratch_vocabulary, settings.scratch_width, settings.scratch_layers, positions)


def _start(rows: Sequence[PromptRow], settings: TuneSettings, seed: int, *, scratch_dir: Path) -> str:
    """The model to start from: the one that is named, or random weights in a folder of their own."""
    kind = scratch_kind(settings.model)
    if kind is None:
        return settings.model
    folder = scratch_dir / "start"
    write_scratch_model(folder, kind, rows, size=_scratch_size(kind, settings), seed=seed)
    return str(folder)


def _require_room(examples: Sequence[TuneExample], dev: Sequence[TuneExample], settings: TuneSettings) -> None:
    if not examples or not dev:
        raise DataError(
            f"{len(examples)} training and {len(dev)} validation prompts leave {settings.model} room for a reference. "
            "Expected at least one of each; lower --max-prompt-tokens."
        )


def _measurements(before: Validation, after: Validation, dev: Sequence[TuneExample], seed: int) -> list[Measurement]:
    """Loss and perplexity before ("base"), after ("tuned"), and their paired difference, intervals by group."""
    clusters = np.array([example.group for example in dev])
    pairs = {
        "validation_loss": (before.learnt, after.learnt, ratio),
        "perplexity": (before.text, after.text, perplexity),
    }
    return [
        row
        for name, (old, new, combine) in pairs.items()
        for row in before_after(
            name,
            old.statistics,
            new.statistics,
            system="tuned",
            clusters=clusters,
            signature="of references|split:dev|log:e|per:token of the generator|eos:counted",
            seed=seed,
            combine=combine,
        )
    ]


def _counts(
    result: TrainingResult, examples: Sequence[TuneExample], dev: Sequence[TuneExample], left_out: Mapping[str, int]
) -> dict[str, Any]:
    """What took part, what was cut or left out, and where training stopped."""
    both = [*examples, *dev]
    return {
        "n_train": len(examples),
        "n_dev": len(dev),
        **left_out,
        "n_references": sum(len(example.reference_ids) for example in both),
        "n_references_cut": sum(example.n_cut_references for example in both),
        "n_prompts_cut": sum(example.n_cut > 0 for example in both),
        "n_train_tokens": sum(example.n_reference_tokens for example in examples),
        "n_dev_tokens": sum(example.n_reference_tokens for example in dev),
        "best_step": result.best_step,
        "best_validation_loss": result.best_value,
        "stopped_early": result.stopped_early,
    }
