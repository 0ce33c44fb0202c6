"""The lexicon of emotions: read strictly, cut into bins, looked up token by token."""

from pathlib import Path

import pytest

from accord.candidates.generators.emotions import (
    PUNCTUATION,
    SPECIAL,
    UNKNOWN,
    Emotion,
    emotion_bin,
    read_vad,
    token_emotions,
)
from accord.errors import DataError
from toys import word_tokenizer

ROWS = "Word\tValence\tArousal\tDominance\nhappy\t1.000\t0.735\t0.772\nSad\t0.225\t0.333\t0.149\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "vad.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_words_are_read_in_lower_case_with_or_without_a_heading(tmp_path: Path) -> None:
    expected = {"happy": (1.0, 0.735), "sad": (0.225, 0.333)}
    assert read_vad(write(tmp_path, ROWS)) == expected
    assert read_vad(write(tmp_path, ROWS.partition("\n")[2])) == expected


@pytest.mark.parametrize(
    ("emotion", "expected"),
    [((0.0, 0.0), 0), ((1.0, 1.0), 63), ((0.125, 0.124), 8), ((0.225, 0.333), 8 * 1 + 2), ((0.999, 0.5), 8 * 7 + 4)],
)
def test_valence_counts_eights_and_arousal_ones(emotion: tuple[float, float], expected: int) -> None:
    assert emotion_bin(Emotion(*emotion)) == expected


def test_each_token_is_looked_up_by_its_bare_text() -> None:
    tokenizer = word_tokenizer(frame="<s> $A </s>")
    tokenizer.add_special_tokens({"extra_special_tokens": ["@[Question]"]})
    found = token_emotions(
        tokenizer, {"sad": Emotion(0.225, 0.333), "!": Emotion(0.0, 1.0)}, n_tokens=len(tokenizer) + 2
    )
    words = ["sad", "!", "?", "happy", "<s>", "@[Question]"]
    rows = [found[number] for number in tokenizer.convert_tokens_to_ids(words)]
    assert rows == [10, 7, PUNCTUATION, UNKNOWN, SPECIAL, SPECIAL]
    assert found[-2:] == [UNKNOWN, UNKNOWN]  # rows of the table that no token has


@pytest.mark.parametrize(
    ("line", "place"),
    [("fine", 1), ("fine\t0.5", 1), ("fine\t-0.2\t0.5\t0.1", 1), ("fine\t0.2\tnan\t0.1", 1), ("a\t0\t1\nb\tx\t1", 2)],
)
def test_a_line_that_is_none_is_named(line: str, place: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"vad\.txt line {place}: .* Expected a word, its valence and its arousal"):
        read_vad(write(tmp_path, line))


def test_without_a_lexicon_it_is_said_where_it_is_and_under_which_terms(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file.*nrc-vad\.html, free for research.*--vad none"):
        read_vad(tmp_path / "missing.txt")
