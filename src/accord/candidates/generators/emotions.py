"""What a token says about emotion, as MultiESC has it: valence and arousal of a lexicon, eight bins each.

The lexicon is the user's own copy of NRC-VAD (Mohammad 2018), which may not be passed on and so is not part of accord.
Each token is looked up by its bare text, without the marks of its tokenizer; a piece of a word is a word of its own.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from accord.errors import DataError

N_BINS = 8
SPECIAL, PUNCTUATION, UNKNOWN = 64, 65, 66
N_EMOTIONS = 70
"""Rows of the embedding: 64 pairs of bins, three kinds without emotion, and three that the original keeps free."""

WHERE = (
    "The NRC Valence, Arousal and Dominance lexicon (Mohammad 2018) is published at "
    "https://saifmohammad.com/WebPages/nrc-vad.html, free for research, not to be passed on; commercial use needs a "
    "licence"
)


class Emotion(NamedTuple):
    """Valence and arousal, each from 0 to 1."""

    valence: float
    arousal: float


def read_vad(path: Path) -> dict[str, Emotion]:
    """The words of a lexicon: a word, its valence, its arousal and whatever follows, separated by tabs.

    A first line whose second column is no number is a heading.

    Raises:
        DataError: no such file, a line that is none, a value outside [0, 1].
    """
    if not path.is_file():
        raise DataError(f"{path} is no file. Expected the lexicon. {WHERE}. Or choose --vad none: no emotion features.")
    lexicon: dict[str, Emotion] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        columns = line.split("\t")
        values = [_number(column) for column in columns[1:3]]
        if number == 1 and len(columns) > 2 and values[0] is None:
            continue
        if len(values) < 2 or any(value is None or not 0 <= value <= 1 for value in values):
            raise DataError(
                f"{path} line {number}: {line[:80]!r}. Expected a word, its valence and its arousal, both from 0 to 1, "
                "separated by tabs. Values from -1 to 1 (version 2): write (value + 1) / 2."
            )
        lexicon[columns[0].strip().lower()] = Emotion(float(columns[1]), float(columns[2]))
    return lexicon


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else value


def emotion_bin(emotion: Emotion) -> int:
    """8·v + a, where v and a are the eighths of [0, 1] that valence and arousal lie in: 0 to 63."""
    v, a = (min(N_BINS - 1, int(value * N_BINS)) for value in emotion)
    return N_BINS * v + a


def token_emotions(tokenizer: Any, lexicon: Mapping[str, Emotion], *, n_tokens: int) -> list[int]:
    """The row of the emotion embedding for each of the vocabulary's `n_tokens` tokens."""
    special = {*tokenizer.all_special_ids, *(n for n, t in tokenizer.added_tokens_decoder.items() if t.special)}
    texts: Sequence[str] = [tokenizer.decode([number]).strip().lower() for number in range(len(tokenizer))]
    found = [SPECIAL if number in special else _row(text, lexicon) for number, text in enumerate(texts)]
    return [*found, *[UNKNOWN] * (n_tokens - len(found))]


def _row(text: str, lexicon: Mapping[str, Emotion]) -> int:
    if text in lexicon:
        return emotion_bin(lexicon[text])
    return PUNCTUATION if text and not any(character.isalnum() for character in text) else UNKNOWN
