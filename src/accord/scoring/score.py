"""`accord score`: rank texts by what a preference model predicts, candidates or any prompt/completion rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from accord.artifacts import Stage, open_stage
from accord.errors import AccordError, DataError
from accord.json_files import read_jsonl, write_json
from accord.preference.predict import AcceptanceModel
from accord.pretrained import content_name
from accord.records import CandidateSet, Measurement, Prompt
from accord.resumable import map_batches
from accord.scoring.settings import ScoreSettings
from accord.scoring.utility import UTILITIES, check_judge, load_judge

VERSION = 1
CANDIDATES_FILE = "candidates.jsonl"
SETS_PER_BATCH = 64

Pair = tuple[Prompt, str]


class Scores(NamedTuple):
    """`values` [N], higher is better; how many texts did not fit into the model."""

    values: np.ndarray
    n_prompts_cut: int
    n_completions_cut: int


def score_pairs(judge: AcceptanceModel, pairs: Sequence[Pair], *, utility: str, batch_tokens: int = 8192) -> Scores:
    """The score of each (prompt, completion), in order.

    Raises:
        ConfigError: the utility needs a concentration and the model has none, or several models (`load_judge`).
    """
    check_judge(judge, utility=utility)
    found = judge.acceptance(pairs, max_tokens_per_batch=batch_tokens)
    values = UTILITIES[utility](found.logits, found.concentration)
    return Scores(values, found.n_prompts_cut, found.n_completions_cut)


def score_stage(
    candidates: Path, preference: Path | Sequence[Path], *, output_dir: Path, settings: ScoreSettings, seed: int
) -> Path:
    """Write `candidates.jsonl`: the same rows with `scores`, parallel to `completions`.

    Args:
        candidates: folder of `accord generate`, or a JSONL file of CandidateSet rows.
        preference: folder of `accord fit`, or a preference model folder; for the utility `worst_group` several, each
            fitted on the votes of one group of annotators.

    Raises:
        DataError: a row is no CandidateSet. ArtifactError: a folder is missing or unfinished. ConfigError: more
            preference models than the utility takes, or fewer.
    """
    preferences = [preference] if isinstance(preference, Path) else list(preference)
    roles = ["preference"] if len(preferences) == 1 else [f"preference {k}" for k in range(1, len(preferences) + 1)]
    stage = open_stage(
        output_dir,
        stage="score",
        version=VERSION,
        settings=settings,
        seed=seed,
        inputs={
            "candidates": candidates,
            **{role: content_name(str(folder)) for role, folder in zip(roles, preferences, strict=True)},
        },
    )
    if not stage.is_complete:
        try:
            judge, rows = load_judge(preferences, utility=settings.utility), _read(candidates)
        except AccordError:
            stage.abandon()
            raise
        _score(stage, rows, judge, settings)
    return stage.folder


def _read(candidates: Path) -> list[CandidateSet]:
    source = candidates / CANDIDATES_FILE if candidates.is_dir() else candidates
    rows = list(read_jsonl(source, CandidateSet))
    if not rows:
        raise DataError(f"{source} has no candidates. Expected one CandidateSet object per line; run it again.")
    return rows


def _score(stage: Stage, rows: Sequence[CandidateSet], judge: AcceptanceModel, settings: ScoreSettings) -> None:
    def scored(batch: Sequence[int]) -> list[CandidateSet]:
        pairs: list[Pair] = [(rows[row].prompt, text) for row in batch for text in rows[row].completions]
        values = score_pairs(judge, pairs, utility=settings.utility, batch_tokens=settings.batch_tokens).values
        ends = np.cumsum([len(rows[row].completions) for row in batch])
        parts = np.split(values, ends[:-1])
        return [
            msgspec.structs.replace(rows[row], scores=tuple(map(float, part)))
            for row, part in zip(batch, parts, strict=True)
        ]

    batches = [range(start, min(start + SETS_PER_BATCH, len(rows))) for start in range(0, len(rows), SETS_PER_BATCH)]
    map_batches(stage.scratch_dir, batches, scored, stage.path(CANDIDATES_FILE), label="Scoring candidates")
    write_json(stage.path("results.json"), _spread(stage.path(CANDIDATES_FILE), settings.utility))
    stage.finish()


def _spread(path: Path, utility: str) -> list[Measurement]:
    """How far apart a prompt's candidates are: the mean lowest, mean and highest score."""
    sets = [row.scores for row in read_jsonl(path, CandidateSet) if row.scores]
    figures = {
        "lowest_score": [min(scores) for scores in sets],
        "highest_score": [max(scores) for scores in sets],
        "mean_score": [sum(scores) / len(scores) for scores in sets],
    }
    nan = float("nan")
    return [
        Measurement(
            name, "candidates", float(np.mean(values)) if sets else nan, nan, nan, len(sets), f"{name}|{utility}"
        )
        for name, values in figures.items()
    ]
