"""`accord multiesc feedback`: the feedback predictor learns which sequences of strategies are like what people did.

The story: beams of a strategy-sequence generator (`accord generate --method beam`) beside what the supporter really did
-> a grade for each beam -> the one training loop on squared error, selected on held-out conversations.

The grades are those of MultiESC's data augmentation: the very sequence 5, its first strategy alone 4, else 1; as
targets one less, and above 1 two more: 6, 5, 0. What the supporter did takes part as a sequence of its own, graded 5.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers.utils.logging import disable_progress_bar

from accord.artifacts import Stage, open_stage, require_complete
from accord.candidates.generate import CANDIDATES_FILE
from accord.candidates.generators.emotions import token_emotions
from accord.candidates.generators.multiesc import STRATEGIES
from accord.candidates.planning.build import emotion_lexicon
from accord.candidates.planning.feedback import FeedbackConfig, FeedbackInput, FeedbackModel
from accord.candidates.planning.sequences import sequence_of
from accord.candidates.planning.settings import FeedbackSettings
from accord.errors import ArtifactError, DataError
from accord.files import naming_failed_writes
from accord.json_files import read_jsonl, write_json, write_jsonl
from accord.pretrained import content_name, load_encoder, load_model, load_tokenizer
from accord.randomness import keyed_rng, keyed_seed
from accord.records import CandidateSet, Measurement, Prompt
from accord.statistics.resampling import bootstrap_interval, describe_interval
from accord.training.epochs import train_in_epochs
from accord.training.held_out import group_of, train_dev_rows
from accord.training.loop import LossSum, TrainingResult

VERSION = 2
MODEL_FOLDER = "model"
SAME, SAME_FIRST, OTHER = 6.0, 5.0, 0.0
"""Targets: the sequence that a supporter took, one that begins like it, any other."""
N_RESAMPLES = 1000
LEVEL = 0.95


class Graded(NamedTuple):
    """A sequence of strategies in its conversation, with its target."""

    input: FeedbackInput
    target: float
    group: str


def read_sequences(folder_or_file: Path) -> list[CandidateSet]:
    """The beams of a strategy-sequence generator: a folder of `accord generate`, or a JSONL file."""
    is_file = folder_or_file.is_file()
    path = folder_or_file if is_file else require_complete(folder_or_file, "generate") / CANDIDATES_FILE
    return list(read_jsonl(path, CandidateSet))


def grade(sequence: Sequence[str], taken: Sequence[str]) -> float:
    """The target of a sequence beside the one that the supporter took."""
    if tuple(sequence) == tuple(taken):
        return SAME
    return SAME_FIRST if sequence[:1] == taken[:1] else OTHER


def turn_ids(prompt: Prompt, tokenizer: Any, config: FeedbackConfig) -> list[list[int]]:
    """The turns of a prompt as the tokenizer frames each text."""
    texts = [prompt] if isinstance(prompt, str) else [one.content for one in prompt]
    read = partial(tokenizer, truncation=True, max_length=config.max_turn_tokens)
    return [list(read(text)["input_ids"]) for text in texts[-config.max_turns :]]


def feedback_input(prompt: Prompt, sequence: Sequence[str], tokenizer: Any, config: FeedbackConfig) -> FeedbackInput:
    """What the model reads of a conversation and a sequence of strategies, which is not empty."""
    return FeedbackInput(turn_ids(prompt, tokenizer, config), [STRATEGIES.index(name) for name in sequence])


def graded_sequences(rows: Sequence[CandidateSet], tokenizer: Any, config: FeedbackConfig) -> list[Graded]:
    """Every different sequence of every row; texts that hold no strategy are left out.

    Raises:
        DataError: a row without the sequence that the supporter took.
    """
    found = []
    for row in rows:
        taken = sequence_of(row.references[0]) if row.references else ()
        if not taken:
            raise DataError(
                f"prompt {row.id!r} has no sequence of strategies as its reference. Expected candidates for the "
                "prompts of `accord multiesc sequences`."
            )
        for sequence in dict.fromkeys([taken, *map(sequence_of, row.completions)]):
            if sequence:
                one = feedback_input(row.prompt, sequence, tokenizer, config)
                found.append(Graded(one, grade(sequence, taken), group_of(row)))
    return found


def fit_feedback_stage(candidates: Path, *, output_dir: Path, settings: FeedbackSettings, seed: int) -> Path:
    """Train the predictor; writes model/, curve.jsonl, results.json.

    Args:
        candidates: folder of `accord generate` on the prompts of `accord multiesc sequences`, or its candidates.jsonl.
            Rows of split "dev" validate, of "train" (or none) train; without "dev" groups are drawn.

    Raises:
        DataError: no sequences, or nobody to train or validate on. ConfigError: no lexicon is named.
    """
    lexicon = emotion_lexicon(settings.vad)
    inputs: dict[str, Path | str] = {
        "candidates": candidates,
        "model": content_name(settings.model),
        "vad": settings.vad,
    }
    stage = open_stage(output_dir, stage="feedback", version=VERSION, settings=settings, seed=seed, inputs=inputs)
    if stage.is_complete:
        return stage.folder
    encoder, tokenizer = load_encoder(settings.model), load_tokenizer(settings.model)
    torch.manual_seed(keyed_seed(seed, "feedback"))
    config = FeedbackConfig(max_turns=settings.max_turns, max_turn_tokens=settings.max_turn_tokens)
    model = FeedbackModel.from_encoder(encoder, config)
    if lexicon is not None:
        rows = token_emotions(tokenizer, lexicon, n_tokens=len(model.token_emotions))
        model.token_emotions.copy_(torch.tensor(rows))
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    split = train_dev_rows(read_sequences(candidates), dev_fraction=settings.dev_fraction, seed=seed)
    examples, held_out = (graded_sequences(part, tokenizer, config) for part in split)
    before = squared_errors(model, held_out, settings.micro_batch_size)
    result = _train(model, examples, held_out, settings, seed, stage)
    after = squared_errors(model, held_out, settings.micro_batch_size)
    _write(stage, model, tokenizer, result, _measurements({"untrained": before, "trained": after}, held_out, seed))
    return stage.folder


def load_feedback_model(folder: Path) -> tuple[FeedbackModel, Any]:
    """The model and tokenizer of a folder of `accord multiesc feedback`."""
    path = require_complete(folder, "feedback") / MODEL_FOLDER
    if not path.is_dir():
        raise ArtifactError(f"{folder} has no folder {MODEL_FOLDER}/. Run `accord multiesc feedback` again.")
    return load_model(FeedbackModel, str(path), dtype="float32"), load_tokenizer(str(path))


@torch.no_grad()
def squared_errors(model: FeedbackModel, graded: Sequence[Graded], size: int) -> np.ndarray:
    """(prediction − target)² of each sequence, [N]."""
    targets = np.array([one.target for one in graded])
    return (predicted_feedback(model, [one.input for one in graded], size) - targets) ** 2


@torch.no_grad()
def predicted_feedback(model: FeedbackModel, inputs: Sequence[FeedbackInput], size: int) -> np.ndarray:
    """The model's numbers, [N], `size` inputs at a time."""
    parts = [model(inputs[start : start + size]).double().cpu().numpy() for start in range(0, len(inputs), size)]
    return np.concatenate(parts) if parts else np.zeros(0)


def _train(
    model: FeedbackModel,
    examples: Sequence[Graded],
    held_out: Sequence[Graded],
    settings: FeedbackSettings,
    seed: int,
    stage: Stage,
) -> TrainingResult:
    size = settings.micro_batch_size

    def loss_of(batch: Sequence[Graded]) -> LossSum:
        targets = torch.tensor([one.target for one in batch], device=model.device)
        return LossSum(((model([one.input for one in batch]) - targets) ** 2).sum(), float(len(batch)))

    return train_in_epochs(
        model,
        examples,
        settings=settings,
        learning_rate=settings.learning_rate,
        micro_batches=lambda _, chosen: [chosen[start : start + size] for start in range(0, len(chosen), size)],
        loss_of=loss_of,
        evaluate=lambda: {"squared_error": float(squared_errors(model, held_out, size).mean())},
        select_on="squared_error",
        seed=seed,
        checkpoint_dir=stage.scratch_dir,
        label="Fitting the feedback predictor",
    )


def _measurements(errors: dict[str, np.ndarray], held_out: Sequence[Graded], seed: int) -> list[Measurement]:
    """Mean squared errors, that of the best constant beside them."""
    targets = np.array([one.target for one in held_out])
    clusters = np.array([one.group for one in held_out])
    text = describe_interval(n_resamples=N_RESAMPLES, level=LEVEL, clusters="group")
    found = []
    for system, values in ({"best constant": (targets - targets.mean()) ** 2} | errors).items():
        rng = keyed_rng(seed, "bootstrap", "squared_error")
        interval = bootstrap_interval(values, clusters=clusters, n_resamples=N_RESAMPLES, level=LEVEL, rng=rng)
        found.append(Measurement("squared_error", system, *interval, len(values), f"squared_error|split:dev|{text}"))
    return found


def _write(
    stage: Stage, model: FeedbackModel, tokenizer: Any, result: TrainingResult, results: Sequence[Measurement]
) -> None:
    disable_progress_bar()  # writing takes a second
    folder = stage.path(MODEL_FOLDER)
    with naming_failed_writes(folder):
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    write_jsonl(stage.path("curve.jsonl"), result.curve)
    write_json(stage.path("results.json"), results)
    stage.finish()
