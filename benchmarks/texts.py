"""Texts to measure with: prompts and replies with the spread of lengths that conversations have, the same every time.

Where ACCORD_DATA_DIR holds `esconv`, replies of ESConv with the three turns before; else sentences of the embedded demo
sample, put together to lengths drawn from log-normal distributions (median 30 and 15 words).
"""

import os
import random
from pathlib import Path

from accord.data.dialogues import build_history
from accord.data.sources.esconv import read_esconv
from accord.demo.pack import load_pack
from accord.preference.inputs import render_prompt

DATA_VARIABLE = "ACCORD_DATA_DIR"
SEED = 20230
PROMPT_WORDS = (3.4, 0.7)
"""Mean and standard deviation of the logarithm of a prompt's words."""
COMPLETION_WORDS = (2.7, 0.6)
MOST_WORDS = 300


def corpus_dir(name: str) -> Path | None:
    """The folder of a corpus under ACCORD_DATA_DIR, if it is there."""
    root = os.environ.get(DATA_VARIABLE)
    folder = Path(root) / name if root else None
    return folder if folder is not None and folder.is_dir() else None


def conversation_pairs(n: int) -> tuple[str, list[tuple[str, str]]]:
    """Where the texts are from, and n pairs of prompt and completion; of a corpus that is too short, some twice."""
    folder = corpus_dir("esconv")
    if folder is None:
        return "demo sentences", made_pairs(n)
    history = build_history("chat", 3)
    rows = read_esconv(folder, on_bad_row="raise", history=history).prompts
    pairs = [(render_prompt(row.prompt), reference) for row in rows for reference in row.references]
    random.Random(SEED).shuffle(pairs)
    return "ESConv", [pairs[number % len(pairs)] for number in range(n)]


def made_pairs(n: int) -> list[tuple[str, str]]:
    """n pairs of demo sentences with log-normal lengths."""
    rng = random.Random(SEED)
    texts = [text for row in load_pack() for text in (row.message, *(reply.text for reply in row.replies))]
    sentences = sorted({line for text in texts for line in text.split(". ") if line})
    return [(_text(sentences, rng, *PROMPT_WORDS), _text(sentences, rng, *COMPLETION_WORDS)) for _ in range(n)]


def _text(sentences: list[str], rng: random.Random, mean: float, spread: float) -> str:
    n_words = min(MOST_WORDS, max(3, round(rng.lognormvariate(mean, spread))))
    words: list[str] = []
    while len(words) < n_words:
        words += rng.choice(sentences).split()
    return " ".join(words[:n_words])
