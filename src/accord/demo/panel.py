"""The demo's simulated panel: 60 annotators of four declared types, so that the true acceptance of a text is known.

No person took part. Each annotator accepts a reply with probability

    sigmoid(intercept of the type + Σ weight of the type × feature + the annotator's own strictness),

and the true acceptance of any text, shipped or generated, is the mean of that over all 60. The tables below are the
rules; `rules_markdown` prints the same tables. They were fixed before any generator was trained on the panel.
"""

import math
from functools import cache, lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np

from accord.demo.word_lists import SAME_WORDS, WORDINGS
from accord.demo.wording import MEANINGS, Features, features
from accord.errors import ConfigError
from accord.randomness import keyed_rng
from accord.records import Annotation

__all__ = [
    "HALVES",
    "TYPES",
    "Annotator",
    "Features",
    "acceptance_by_type",
    "acceptance_probability",
    "cast_votes",
    "features",
    "panel",
    "panel_acceptance",
    "rules_markdown",
    "true_acceptance",
]

Half = Literal["A", "B"]
HALVES: tuple[Half, ...] = get_args(Half)

TYPE_COUNTS: dict[str, int] = {"listener": 9, "problem-solver": 7, "autonomy-minded": 7, "plain-speaker": 7}
"""Annotators of each type in each half."""

TYPES: tuple[str, ...] = tuple(TYPE_COUNTS)

TYPE_DESCRIPTIONS: dict[str, str] = {
    "listener": "wants to be heard: reflections, warmth, credit; dislikes advice and pressure",
    "problem-solver": "welcomes concrete suggestions and facts; has little use for stock sympathy",
    "autonomy-minded": "wants questions, permission and choice; dislikes being told what to do",
    "plain-speaker": "wants short, natural, specific replies; dislikes gush, lists, lectures and length",
}

STRICTNESS_SD = 0.5
"""Each annotator's strictness is one draw from Normal(0, STRICTNESS_SD), added to the logit."""

PANEL_SEED = 2023

INTERCEPTS: tuple[float, ...] = (-0.3, 0.0, 0.1, 0.7)
"""The logit of a reply without any feature, by type in the order of TYPES."""

# One row per feature; the columns are TYPES:   listener, problem-solver, autonomy-minded, plain-speaker.
WEIGHTS: dict[str, tuple[float, float, float, float]] = {
    "reflection": (1.3, 0.6, 0.7, 0.7),
    "about_you": (0.4, 0.2, 0.3, 0.2),
    "names_feeling": (0.8, 0.1, 0.0, 0.0),
    "warmth": (1.1, 0.0, 0.2, 0.1),
    "affirmation": (0.8, 0.3, 0.3, 0.1),
    "autonomy": (0.2, -0.1, 1.3, 0.0),
    "permission": (0.4, 0.6, 1.3, -0.1),
    "open_question": (0.6, 0.5, 1.1, 0.5),
    "closed_question": (0.0, 0.4, 0.2, 0.4),
    "impersonal": (-0.6, -0.2, -0.4, -0.3),
    "question_pile": (-1.0, -0.6, -1.2, -1.2),
    "advice": (-0.2, 1.6, 0.0, 0.2),
    "unasked_advice": (-1.2, 0.0, -1.6, -0.3),
    "directive": (-1.1, 0.0, -2.2, -0.2),
    "confrontation": (-2.6, -1.3, -2.0, -0.9),
    "warning": (-1.9, -0.4, -2.0, -0.9),
    "minimising": (-1.9, -1.0, -1.0, -0.8),
    "information": (-1.0, 0.9, -0.2, -0.4),
    "lecture": (-0.6, -0.3, -1.2, -1.4),
    "stock_phrase": (-0.1, -0.6, -0.2, -0.5),
    "gush": (-0.8, -1.0, -0.6, -1.8),
    "list_marks": (-1.2, 0.2, -1.0, -2.0),
    "machine_talk": (-2.5, -1.8, -2.0, -3.0),
    "self_disclosure": (-0.5, -0.6, -0.2, 0.2),
    "wrong_role": (-3.0, -3.0, -3.0, -3.0),
    "length": (0.6, 0.4, 0.0, -1.0),
    "too_short": (-2.0, -2.0, -1.5, -1.0),
    "too_long": (-0.8, -0.5, -1.0, -2.5),
    "unfinished": (-0.9, -1.1, -0.8, -1.5),
    "repetition": (-4.0, -4.0, -4.0, -4.0),
    "parroting": (-4.0, -4.0, -4.0, -4.0),
    "off_topic": (-2.0, -2.0, -1.8, -1.8),
    "nonsense": (-6.0, -6.0, -6.0, -6.0),
}


class Annotator(NamedTuple):
    """One simulated annotator; `strictness` is added to the logit, so a negative one accepts less."""

    id: str
    half: Half
    type: str
    strictness: float


@cache
def panel(half: Half | None = None) -> tuple[Annotator, ...]:
    """The 30 annotators of one half ("A01" to "A30"), or all 60. Both halves have the same mix of types."""
    if half is None:
        return panel("A") + panel("B")
    _check_half(half)
    types = [name for name, count in TYPE_COUNTS.items() for _ in range(count)]
    ids = [f"{half}{number:02d}" for number in range(1, len(types) + 1)]
    return tuple(Annotator(i, half, name, _strictness(i)) for i, name in zip(ids, types, strict=True))


def _strictness(annotator_id: str) -> float:
    return float(keyed_rng(PANEL_SEED, "strictness", annotator_id).normal(0.0, STRICTNESS_SD))


def _check_half(half: str) -> None:
    if half not in HALVES:
        raise ConfigError(f"The panel has no half {half!r}. Expected one of {', '.join(HALVES)}.")


@lru_cache(maxsize=1 << 16)
def _type_logits(message: str, reply: str) -> tuple[float, ...]:
    """What each type thinks of a reply, strictness aside; in the order of TYPES."""
    found = features(message, reply)
    return tuple((np.asarray(INTERCEPTS) + np.asarray(found) @ _weight_matrix()).tolist())


@cache
def _weight_matrix() -> np.ndarray:
    """[features, types], rows in the order of `Features`."""
    return np.array([WEIGHTS[name] for name in Features._fields])


@cache
def _type_index() -> np.ndarray:
    return np.array([TYPES.index(annotator.type) for annotator in panel()])


@cache
def _strictness_of_all() -> np.ndarray:
    return np.array([annotator.strictness for annotator in panel()])


def acceptance_probability(annotator: Annotator, message: str, reply: str) -> float:
    """The probability, in (0, 1), that this annotator votes acceptable."""
    logit = _type_logits(message, reply)[TYPES.index(annotator.type)] + annotator.strictness
    return 1 / (1 + math.exp(-logit))


def panel_acceptance(message: str, reply: str) -> np.ndarray:
    """`acceptance_probability` of all 60 annotators, in the order of `panel()`: shape [60]."""
    logits = np.asarray(_type_logits(message, reply))[_type_index()] + _strictness_of_all()
    return np.asarray(1 / (1 + np.exp(-logits)))


def true_acceptance(message: str, reply: str) -> float:
    """The share of the whole panel that would accept the reply, in expectation: the mean over all 60."""
    return float(panel_acceptance(message, reply).mean())


def acceptance_by_type(message: str, reply: str) -> dict[str, float]:
    """The mean acceptance within each type, both halves together."""
    probabilities = panel_acceptance(message, reply)
    return {name: float(probabilities[_type_index() == index].mean()) for index, name in enumerate(TYPES)}


def cast_votes(
    item_id: str, message: str, reply: str, *, half: Half, n_votes: int, seed: int
) -> tuple[Annotation, ...]:
    """The votes of `n_votes` different annotators of one half on one reply, in the order of their ids.

    Who votes and how they vote is keyed by (seed, item id, half), so it depends on no other item.

    Raises:
        ConfigError: no such half, or more votes than the half has annotators.
    """
    annotators = panel(half)
    if not 1 <= n_votes <= len(annotators):
        raise ConfigError(f"n_votes is {n_votes}; expected 1 to {len(annotators)}, the annotators of one half.")
    rng = keyed_rng(seed, "votes", item_id, half)
    chosen = np.sort(rng.choice(len(annotators), size=n_votes, replace=False))
    draws = rng.random(n_votes)
    return tuple(_vote(annotators[index], message, reply, draw=draw) for index, draw in zip(chosen, draws, strict=True))


def _vote(annotator: Annotator, message: str, reply: str, *, draw: float) -> Annotation:
    accepts = draw < acceptance_probability(annotator, message, reply)
    return Annotation(annotator.id, "acceptable" if accepts else "unacceptable")


def rules_markdown() -> str:
    """The panel's rules as Markdown, made from the very tables it computes with."""
    header = ["what the panel sees", "how it is measured, 0 to 1", *TYPES]
    intercept = ["(every reply)", "the starting point", *map(_signed, INTERCEPTS)]
    rows = [[name, MEANINGS[name], *map(_signed, WEIGHTS[name])] for name in Features._fields]
    types = [[name, str(count), TYPE_DESCRIPTIONS[name]] for name, count in TYPE_COUNTS.items()]
    n_half = sum(TYPE_COUNTS.values())
    return "\n".join(
        [
            "**This panel is simulated. No person took part.** It is a set of declared rules, so that the share of "
            "the panel that would accept a text is known exactly, for the shipped replies and for whatever a "
            "generator writes. It reads wording and overlap with the message, not meaning: irony passes unseen, and a "
            "clever enough string of fitting words can please it. It says nothing about what people think of a reply.",
            "",
            f"Two halves of {n_half} annotators each, with the same mix of types:",
            "",
            _table(["type", "in each half", "what it is like"], types),
            "",
            "An annotator accepts a reply with probability sigmoid(starting point + sum of weight × feature + "
            f"strictness). The strictness is each annotator's own, drawn once from Normal(0, {STRICTNESS_SD:g}). "
            "The true acceptance is the mean of these probabilities over all annotators of both halves.",
            "",
            _table(header, [intercept, *rows]),
            "",
            "The word lists behind the features:",
            "",
            _table(["list", "wordings"], [[name, ", ".join(sorted(words))] for name, words in WORDINGS.items()]),
            "",
            "Words that count as one when a reply takes up the message: " + "; ".join(SAME_WORDS) + ".",
            "",
        ]
    )


def _signed(weight: float) -> str:
    return f"{weight:+.1f}" if weight else "0"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *([cell.replace("_", " ") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
