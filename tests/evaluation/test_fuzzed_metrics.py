"""All n-gram metrics against their libraries on texts nobody wrote: all kinds of characters, long texts, replies."""

import json
import random
import sys
import unicodedata
from functools import lru_cache
from pathlib import Path

import pytest

from accord.evaluation.metrics.wordnet import load_wordnet
from data_dir import corpus_dir
from metric_texts import Corpus

pytest.importorskip("pycocoevalcap.bleu.bleu_scorer", reason="pycocoevalcap is not installed")
from metric_oracles import ORACLES, check, check_corpus_bleus

KINDS = (
    "Lu",
    "Ll",
    "Lo",
    "Lm",
    "Mn",
    "Mc",
    "Nd",
    "No",
    "Po",
    "Ps",
    "Pd",
    "Sc",
    "Sm",
    "So",
    "Sk",
    "Zs",
    "Cc",
    "Cf",
    "Co",
)
"""Categories of Unicode: emoji are So, Hebrew and Arabic Lo, NUL Cc, zero-width signs Cf, half of 'é' Mn."""
LONG = [name for name in ORACLES if name not in ("rouge_l", "rouge_l_caption", "meteor")]
"""Whose libraries take less than quadratic time."""


@pytest.fixture(autouse=True)
def without_wordnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_WORDNET", "none")
    load_wordnet.cache_clear()


@lru_cache
def characters() -> dict[str, list[str]]:
    """Every character of each category, surrogates left out."""
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for code in range(sys.maxunicode + 1):
        kind = unicodedata.category(chr(code))
        if kind in found:
            found[kind].append(chr(code))
    return found


def word(rng: random.Random, kinds: list[str]) -> str:
    return "".join(rng.choice(characters()[rng.choice(kinds)]) for _ in range(rng.randint(1, 5)))


def text(rng: random.Random, vocabulary: list[str]) -> str:
    """Words of the vocabulary between different spaces; now and then nothing at all."""
    n_words = rng.choice((0, 1, 2, 5, 9, 20))
    return "".join(rng.choice(vocabulary) + rng.choice((" ", " ", " ", "  ", "\u3000", "\n")) for _ in range(n_words))


def fuzzed(seed: int) -> Corpus:
    """Twelve texts with one to three references that share a vocabulary of a few kinds of characters."""
    rng = random.Random(seed)
    kinds = rng.sample(KINDS, 4)
    vocabulary = [word(rng, kinds) for _ in range(12)] + ["the", "cat", "sits", ".", "don't", "1,000"]
    return [(text(rng, vocabulary), tuple(text(rng, vocabulary) for _ in range(rng.randint(1, 3)))) for _ in range(12)]


@pytest.mark.parametrize("seed", range(12))
def test_any_characters(seed: int) -> None:
    corpus = fuzzed(seed)
    check_corpus_bleus(corpus)
    for name in ORACLES:
        check(name, corpus)


def long_corpus(n_words: int) -> Corpus:
    """A text of many words, Zipf's way, against a misspelt copy and another text; and a short one beside it."""
    rng = random.Random(n_words)
    words = [f"w{min(int(rng.paretovariate(0.7)), 4000)}" for _ in range(n_words)]
    copy = [w + "s" if rng.random() < 0.1 else w for w in words]
    return [(" ".join(words), (" ".join(copy), "w1 w2 w3")), ("w1 w2", (" ".join(copy[:50]), ""))]


@pytest.mark.parametrize("name", LONG)
def test_ten_thousand_words(name: str) -> None:
    check(name, long_corpus(10_000))


def test_long_texts_where_the_library_takes_quadratic_time() -> None:
    for name in ORACLES:
        check(name, long_corpus(400))
    check_corpus_bleus(long_corpus(10_000))


def replies(path: Path) -> dict[str, list[str]]:
    """What ESConv's supporters said, by strategy, as it stands in the file."""
    found: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        for turn in json.loads(line)["dialog"]:
            if turn["speaker"] == "sys":
                found.setdefault(turn["strategy"], []).append(turn["text"])
    return found


def test_replies_of_real_people() -> None:
    """ESConv's supporters: each reply against three that others gave with the same strategy."""
    rng = random.Random(0)
    by_strategy = replies(corpus_dir("esconv") / "test.jsonl")
    corpus = [
        (said, tuple(rng.sample(others, 3)))
        for others in by_strategy.values()
        for said in rng.sample(others, min(40, len(others)))
    ]
    assert len(corpus) > 200
    check_corpus_bleus(corpus)
    for name in ORACLES:
        check(name, corpus)
