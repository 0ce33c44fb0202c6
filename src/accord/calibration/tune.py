"""`accord tune`: the generator learns to write what people wrote, before anything is known of who accepts what.

The story: prompts with references -> token ids -> all weights, or a LoRA adapter -> the one training loop, selected on
the validation loss -> the model, its curve, and its loss and perplexity before and after. It is calibration without
candidates: the same loop and the same log-probabilities.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from accord.artifacts import Stage, open_stage, settings_dict, write_json, write_jsonl
from accord.calibration.adapter import SAVE, TUNED, require_trainable
from accord.calibration.before_after import before_after
from accord.calibration.examples import TrainDev, group_of, log_cut_prompts, micro_batches, train_dev_rows
from accord.calibration.scratch import ScratchSize, scratch_kind, scratch_positions, write_scratch_model
from accord.calibration.settings import TuneSettings
from accord.calibration.trained_part import trained_part
from accord.candidates.forced import WholeCompletions
from accord.candidates.generators.load import GENERATOR_FOLDER, load_generator
from accord.candidates.generators.protocol import Generator
from accord.candidates.logps import SequenceLogps, StateReader, completion_logps
from accord.candidates.prompts import read_prompts
from accord.candidates.reference_logps import reference_ids
from accord.candidates.strategies import prompt_for
from accord.errors import ConfigError, DataError
from accord.pretrained import content_name
from accord.randomness import keyed_rng
from accord.records import Measurement, PromptRow, Split
from accord.statistics.resampling import ratio
from accord.training.batches import step_indices, steps_per_epoch
from accord.training.loop import LossSum, TrainingResult, train
from accord.training.processes import device, from_main

VERSION = 1
SPLITS: tuple[Split, ...] = ("train", "dev")


class TuneExample(NamedTuple):
    """One prompt with its references as token ids.

    `n_cut` tokens of the prompt were left out at its beginning; `n_cut_references` references lost their end.
    """

    id: str
    group: str
    prompt_ids: list[int]
    reference_ids: list[list[int]]
    n_cut: int
    n_cut_references: int

    @property
    def n_reference_tokens(self) -> int:
        return sum(map(len, self.reference_ids))

    @property
    def n_tokens(self) -> int:
        """Length of the packed row, about."""
        return len(self.prompt_ids) + self.n_reference_tokens


class TokenLosses(NamedTuple):
    """Per prompt, [N]: Σ −log p of its references' tokens in nats, and the number of tokens that count."""

    sums: np.ndarray
    n_tokens: np.ndarray

    @property
    def statistics(self) -> np.ndarray:
        return np.stack([self.sums, self.n_tokens], axis=1)

    @property
    def mean(self) -> float:
        """Nats per token."""
        return float(self.sums.sum() / self.n_tokens.sum())


class Validation(NamedTuple):
    """`learnt`: over all tokens, as trained, but for label smoothing; `text`: over those at the generator's
    `loss_positions`, as perplexity is measured everywhere. The two are one where the generator chooses every token.
    """

    learnt: TokenLosses
    text: TokenLosses


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
    split = train_dev_rows(_with_references(rows, splits), dev_fraction=settings.dev_fraction, seed=seed)
    split = split._replace(dev=_drawn(split.dev, settings.max_dev_prompts, seed))
    generator = load_generator(
        from_main(lambda: _start(split.train, settings, seed, scratch_dir=stage.scratch_dir)),
        kind=settings.generator_kind,
        system_prompt=settings.system_prompt,
        chat=settings.chat,
        dtype=settings.dtype,
        device=str(device()),
    )
    examples, dev = (_encoded(part, generator, settings) for part in split)
    _require_room(examples, dev, settings)
    longest = max(dev, key=lambda example: example.n_tokens)
    trained, reader = trained_part(
        generator,
        tuning=settings.tuning,
        lora_layers=settings.lora_layers,
        r=settings.lora_r,
        alpha=settings.lora_alpha,
        dropout=settings.lora_dropout,
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
        write_json(stage.path("training.json"), _counts(result, rows, split, examples, dev))
        stage.finish()

    from_main(write)


def reference_token_loss(reader: StateReader, examples: Sequence[TuneExample], *, label_smoothing: float) -> LossSum:
    """−Σ log p over all tokens of all references of some prompts, and the number of these tokens.

    The loop divides the sums of a whole step, so every token of a step weighs the same, in a short reference as in a
    long one and however the step is split up: what transformers' Trainer does with `num_items_in_batch`. A forced
    prefix (the strategy that a reply is written after) counts too, so that it can be predicted.

    Args:
        label_smoothing: see `target_logps`.
    """
    logps = _logps(WholeCompletions(reader), examples, label_smoothing=label_smoothing)
    return LossSum(-logps.sum_logps.sum(), float(logps.n_tokens.sum()))


def validation(reader: StateReader, examples: Sequence[TuneExample], *, micro_batch_size: int) -> Validation:
    """How surprised the generator is by the references of each prompt."""
    learnt = token_losses(WholeCompletions(reader), examples, micro_batch_size=micro_batch_size)
    references = [ids for example in examples for ids in example.reference_ids]
    if not reader.forbidden_tokens and all(len(reader.loss_positions(ids)) == len(ids) for ids in references):
        return Validation(learnt, learnt)
    return Validation(learnt, token_losses(reader, examples, micro_batch_size=micro_batch_size))


@torch.no_grad()
def token_losses(reader: StateReader, examples: Sequence[TuneExample], *, micro_batch_size: int) -> TokenLosses:
    """Σ −log p of each prompt's references under `reader`, and how many of their tokens it counts."""
    sums, n_tokens = np.zeros(len(examples)), np.zeros(len(examples))
    places = {example.id: place for place, example in enumerate(examples)}
    for batch in micro_batches(examples, micro_batch_size):
        logps, rows = _logps(reader, batch), [places[example.id] for example in batch]
        sums[rows] = -logps.sum_logps.double().sum(dim=1).cpu().numpy()
        n_tokens[rows] = logps.n_tokens.sum(dim=1).cpu().numpy()
    return TokenLosses(sums, n_tokens)


def _logps(reader: StateReader, examples: Sequence[TuneExample], *, label_smoothing: float = 0.0) -> SequenceLogps:
    return completion_logps(
        reader,
        [example.prompt_ids for example in examples],
        [example.reference_ids for example in examples],
        label_smoothing=label_smoothing,
    )


def perplexity(sums: np.ndarray) -> np.ndarray:
    """exp(Σ loss / Σ tokens) of summed statistics [R, 2]."""
    return np.exp(ratio(sums))


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

    def micro_batches_at(step: int) -> list[list[TuneExample]]:
        chosen = step_indices(len(examples), settings.batch_size, step, seed=seed)
        return micro_batches([examples[int(number)] for number in chosen], settings.micro_batch_size)

    def evaluate() -> dict[str, float]:
        found = validation(reader, dev, micro_batch_size=settings.micro_batch_size)
        return {"validation_loss": found.learnt.mean, "perplexity": math.exp(found.text.mean)}

    return train(
        trained,
        loss_of=loss_of,
        micro_batches_at=micro_batches_at,
        n_steps=math.ceil(settings.epochs * steps_per_epoch(len(examples), settings.batch_size)),
        evaluate=evaluate,
        select_on="validation_loss",
        eval_every=settings.eval_every,
        patience=settings.patience,
        learning_rate=settings.resolved_learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup_steps,
        max_grad_norm=settings.max_grad_norm,
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
    """Raises ConfigError: a model from scratch that nobody knows, or whose random weights would be frozen."""
    if scratch_kind(settings.model) is not None and settings.tuning == "lora":
        raise ConfigError(
            f"tuning is 'lora' and model is {settings.model!r}: all weights but the adapter's would stay random. "
            "Use --tuning full."
        )


def _start(rows: Sequence[PromptRow], settings: TuneSettings, seed: int, *, scratch_dir: Path) -> str:
    """The model to start from: the one that is named, or random weights in a folder of their own."""
    kind = scratch_kind(settings.model)
    if kind is None:
        return settings.model
    size = ScratchSize(
        vocabulary=settings.scratch_vocabulary,
        width=settings.scratch_width,
        layers=settings.scratch_layers,
        positions=scratch_positions(
            kind, max_prompt_tokens=settings.max_prompt_tokens, max_reference_tokens=settings.max_reference_tokens
        ),
    )
    folder = scratch_dir / "start"
    write_scratch_model(folder, kind, rows, size=size, seed=seed)
    return str(folder)


def _with_references(rows: Sequence[PromptRow], splits: Sequence[Split]) -> list[PromptRow]:
    """The rows that can teach or validate."""
    read = [row for row in rows if row.split is None or row.split in splits]
    kept = [row for row in read if row.references]
    if not kept:
        raise DataError(
            f"none of {len(read)} prompts to tune on has references. Expected the texts that people wrote to them: "
            'give the rows {"references": ["..."]}.'
        )
    return kept


def _drawn(rows: Sequence[PromptRow], n_wanted: int | None, seed: int) -> list[PromptRow]:
    """A keyed draw of `n_wanted` rows, in their order; all where there are no more."""
    order = keyed_rng(seed, "dev prompts").permutation(len(rows))
    return [rows[int(number)] for number in sorted(order[:n_wanted])]


def _encoded(rows: Sequence[PromptRow], generator: Generator, settings: TuneSettings) -> list[TuneExample]:
    """Token ids of every row. Prompts that leave the model no room for a reference are left out."""
    prompts = [prompt_for(row, generator) for row in rows]
    whole = [generator.prompt_ids(prompt) for prompt in prompts]
    kept = [ids[-settings.max_prompt_tokens :] for ids in whole]
    references = [
        reference_ids(
            generator,
            [prompt_ids],
            [row.references],
            max_tokens=settings.max_reference_tokens,
            prefixes=[generator.forced_prefix(prompt)],
        )
        for row, prompt, prompt_ids in zip(rows, prompts, kept, strict=True)
    ]
    examples = [
        TuneExample(row.id, group_of(row), prompt_ids, found.ids[0], len(ids) - len(prompt_ids), found.n_cut)
        for row, ids, prompt_ids, found in zip(rows, whole, kept, references, strict=True)
        if any(found.ids[0])
    ]
    log_cut_prompts([example.n_cut for example in examples], max_prompt_tokens=settings.max_prompt_tokens)
    return examples


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
    result: TrainingResult,
    rows: Sequence[PromptRow],
    split: TrainDev[PromptRow],
    examples: Sequence[TuneExample],
    dev: Sequence[TuneExample],
) -> dict[str, Any]:
    """What took part, what was cut or left out, and where training stopped."""
    both = [*examples, *dev]
    n_kept = len(split.train) + len(split.dev)
    n_without = sum(not row.references for row in rows if row.split != "test")
    return {
        "n_train": len(examples),
        "n_dev": len(dev),
        "n_not_used": len(rows) - len(both),
        "n_without_references": n_without,
        "n_without_room": n_kept - len(both),
        "n_references": sum(len(example.reference_ids) for example in both),
        "n_references_cut": sum(example.n_cut_references for example in both),
        "n_prompts_cut": sum(example.n_cut > 0 for example in both),
        "n_train_tokens": sum(example.n_reference_tokens for example in examples),
        "n_dev_tokens": sum(example.n_reference_tokens for example in dev),
        "best_step": result.best_step,
        "best_validation_loss": result.best_value,
        "stopped_early": result.stopped_early,
    }
