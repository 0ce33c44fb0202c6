"""`accord export pairs`: scored candidates as pairs of a chosen and a rejected completion, in TRL's columns."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from accord.artifacts import STAGE_FILE, Stage, hash_input, open_stage
from accord.calibration.examples import read_candidates
from accord.calibration.settings import PairsSettings
from accord.errors import AccordError, ArtifactError, ConfigError, DataError
from accord.json_files import read_json, write_json, write_jsonl
from accord.preference.predict import load_acceptance_model
from accord.pretrained import content_name
from accord.records import SPLITS, CandidateSet, Message, Prompt
from accord.scoring.score import Pair, score_pairs

VERSION = 1
SPLIT_OF_THE_REST = "train"


class ScoredText(NamedTuple):
    text: str
    score: float


class ChosenRejected(NamedTuple):
    chosen: ScoredText
    rejected: ScoredText


class Pairing(NamedTuple):
    """The pairs of one prompt, and how many were left out because their scores tie or differ by too little."""

    pairs: list[ChosenRejected]
    n_ties: int
    n_below_margin: int


@dataclass(frozen=True)
class References:
    """The preference model that scores the references, and the utility that the candidates were scored with."""

    preference: Path
    utility: str


def export_pairs_stage(
    candidates: Path, *, output_dir: Path, settings: PairsSettings, seed: int = 0, preference: Path | None = None
) -> Path:
    """Write train.jsonl, dev.jsonl and test.jsonl (those that have rows) and summary.json.

    Each row: `prompt`, `chosen`, `rejected`, `chosen_score`, `rejected_score`, `margin` (their difference), `id` (the
    prompt's), `split`. A prompt without a split goes to train.jsonl, as calibration takes it. Pairs of equal scores are
    dropped and counted.

    Args:
        candidates: folder of `accord score`, or a candidates.jsonl with scores.
        preference: score the references with this model, the one that scored the candidates, and let them take part
            like any completion; None leaves them out.

    Raises:
        DataError: rows without scores, or no pair is left. ConfigError: a negative margin. ArtifactError: another
            preference model than the candidates'.
    """
    check_margin(settings.min_margin)
    references = None if preference is None else find_references(candidates, preference)
    inputs: dict[str, Path | str] = {"candidates": candidates}
    if preference is not None:
        inputs["preference"] = content_name(str(preference))
    stage = open_stage(output_dir, stage="export pairs", version=VERSION, settings=settings, seed=seed, inputs=inputs)
    if not stage.is_complete:
        try:
            _export(stage, read_candidates(candidates), settings, references)
        except AccordError:
            stage.abandon()
            raise
    return stage.folder


def best_and_worst(texts: Sequence[ScoredText], *, min_margin: float) -> Pairing:
    """The highest score against the lowest, the earlier text where several share one; no pair of fewer than two."""
    if len(texts) < 2:
        return Pairing([], 0, 0)
    ordered = [max(texts, key=lambda text: text.score), min(texts, key=lambda text: text.score)]
    return every_pair(ordered, min_margin=min_margin)


def every_pair(texts: Sequence[ScoredText], *, min_margin: float) -> Pairing:
    """Every two texts, the one with the higher score chosen; the largest margins first."""
    pairs, n_ties, n_below_margin = [], 0, 0
    for one, other in combinations(texts, 2):
        chosen, rejected = (one, other) if one.score > other.score else (other, one)
        margin = chosen.score - rejected.score
        n_ties += margin == 0
        n_below_margin += 0 < margin < min_margin
        if margin > 0 and margin >= min_margin:
            pairs.append(ChosenRejected(chosen, rejected))
    pairs.sort(key=lambda pair: pair.rejected.score - pair.chosen.score)
    return Pairing(pairs, n_ties, n_below_margin)


PAIRINGS = {"best_worst": best_and_worst, "all": every_pair}


def conversational(prompt: Prompt, system_prompt: str | None) -> list[dict[str, str]]:
    """The prompt as the messages that a generator with a chat template was given."""
    return [{"role": message.role, "content": message.content} for message in _messages(prompt, system_prompt)]


def standard(prompt: Prompt, system_prompt: str | None) -> str:
    """The prompt as the text that a generator without a chat template was given: turns one line each."""
    if isinstance(prompt, str) and system_prompt is None:
        return prompt
    return "".join(message.content + "\n" for message in _messages(prompt, system_prompt))


def pair_row(row: CandidateSet, pair: ChosenRejected, *, layout: str, system_prompt: str | None) -> dict[str, Any]:
    """One line of the file."""
    chosen, rejected = pair
    if layout == "conversational":
        texts: dict[str, Any] = {
            "prompt": conversational(row.prompt, system_prompt),
            "chosen": [{"role": "assistant", "content": chosen.text}],
            "rejected": [{"role": "assistant", "content": rejected.text}],
        }
    else:
        texts = {"prompt": standard(row.prompt, system_prompt), "chosen": chosen.text, "rejected": rejected.text}
    scores = {"chosen_score": chosen.score, "rejected_score": rejected.score, "margin": chosen.score - rejected.score}
    return {**texts, **scores, "id": row.id, "split": row.split or SPLIT_OF_THE_REST}


def check_margin(min_margin: float) -> None:
    """Refuse what is no difference between two scores.

    Raises:
        ConfigError: negative, or nan.
    """
    if math.isnan(min_margin) or min_margin < 0:
        raise ConfigError(f"min_margin is {min_margin}. Expected a difference between scores, 0 or more.")


def find_references(candidates: Path, preference: Path) -> References:
    """What the references are scored with, after checking that the candidates were scored with the same.

    Raises:
        ArtifactError: `candidates` is no folder that says so, or says another preference model.
    """
    stage_path = candidates / STAGE_FILE
    if not stage_path.is_file():
        raise ArtifactError(
            f"{candidates} does not say which preference model scored it, so references cannot be mixed in. Pass the "
            "folder of `accord score`, or leave --preference out."
        )
    description = read_json(stage_path)
    if description["inputs"].get("preference") != hash_input(content_name(str(preference))):
        raise ArtifactError(
            f"{candidates} was not scored with {preference}; scores of two models cannot be compared. Pass the folder "
            "that `accord score` was given, or score the candidates again."
        )
    return References(preference, description["settings"]["utility"])


# -- steps ------------------------------------------------------------------------------------------------------


def _export(stage: Stage, rows: Sequence[CandidateSet], settings: PairsSettings, references: References | None) -> None:
    counts: Counter[str] = Counter(n_prompts=len(rows), n_references=0)
    texts = [_candidate_texts(row) for row in rows]
    if references is not None:
        added = _reference_texts(rows, references)
        texts = [found + more for found, more in zip(texts, added, strict=True)]
        counts["n_references"] = sum(map(len, added))
    found = [PAIRINGS[settings.pairing](of_prompt, min_margin=settings.min_margin) for of_prompt in texts]
    counts.update(
        n_pairs=sum(len(pairing.pairs) for pairing in found),
        n_ties=sum(pairing.n_ties for pairing in found),
        n_below_margin=sum(pairing.n_below_margin for pairing in found),
        n_prompts_with_one_text=sum(len(of_prompt) < 2 for of_prompt in texts),
        n_prompts_without_pairs=sum(not pairing.pairs for pairing in found),
    )
    if not counts["n_pairs"]:
        raise DataError(
            f"no pair is left of {counts['n_prompts']} prompts: {counts['n_ties']} pairs tie, "
            f"{counts['n_below_margin']} differ by less than {settings.min_margin}, and "
            f"{counts['n_prompts_with_one_text']} prompts have fewer than two texts. Lower --min-margin, or generate "
            "more candidates."
        )
    exported = [
        pair_row(row, pair, layout=settings.format, system_prompt=settings.system_prompt)
        for row, pairing in zip(rows, found, strict=True)
        for pair in pairing.pairs
    ]
    per_split = {split: [row for row in exported if row["split"] == split] for split in SPLITS}
    for split, of_split in per_split.items():
        if of_split:
            write_jsonl(stage.path(f"{split}.jsonl"), of_split)
    n_pairs_per_split = {split: len(of_split) for split, of_split in per_split.items()}
    write_json(stage.path("summary.json"), {**counts, "n_pairs_per_split": n_pairs_per_split})
    stage.finish()


def _candidate_texts(row: CandidateSet) -> list[ScoredText]:
    assert row.scores is not None, "read_candidates checks this"
    return [ScoredText(text, score) for text, score in zip(row.completions, row.scores, strict=True)]


def _reference_texts(rows: Sequence[CandidateSet], references: References) -> list[list[ScoredText]]:
    """Each prompt's references with their scores; one that is also a candidate is left to the candidates."""
    texts = [[text for text in dict.fromkeys(row.references) if text not in row.completions] for row in rows]
    pairs: list[Pair] = [(row.prompt, text) for row, of_row in zip(rows, texts, strict=True) for text in of_row]
    judge = load_acceptance_model(references.preference)
    scores = iter(score_pairs(judge, pairs, utility=references.utility).values.tolist() if pairs else [])
    return [[ScoredText(text, next(scores)) for text in of_row] for of_row in texts]


def _messages(prompt: Prompt, system_prompt: str | None) -> list[Message]:
    """A plain prompt is the user's message; a system prompt is put first where the prompt brings none."""
    messages = [Message("user", prompt)] if isinstance(prompt, str) else list(prompt)
    if system_prompt is not None and not any(message.role == "system" for message in messages):
        messages.insert(0, Message("system", system_prompt))
    return messages
