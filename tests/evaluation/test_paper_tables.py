"""The documentation's table of the paper's columns: every metric it names exists and gives a number."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from accord.evaluation.evaluate import evaluate_texts
from accord.evaluation.metrics.all import METRICS
from accord.evaluation.settings import EvaluateSettings
from metric_texts import COMPLETIONS, REFERENCES

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
COLUMNS = {
    "1, 7": ["B-1 … B-4", "R-L", "METEOR", "CIDEr", "Extreme"],
    "3, 8": ["R-1, R-2, R-L", "BertScore", "ScoreBLEU", "Avg.Len"],
}


def documented() -> dict[tuple[str, str], list[str]]:
    """(tables, column) -> the metrics named for it."""
    text = PAGE.read_text(encoding="utf-8").split("## The paper's tables")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {(row[0], row[1]): re.findall(r"`(\w+)`", row[2]) for row in rows[2:]}


def test_every_column_of_the_papers_tables_has_its_metric() -> None:
    found = documented()
    assert list(found) == [(table, column) for table, columns in COLUMNS.items() for column in columns]
    names = [name for metrics in found.values() for name in metrics]
    assert len(names) == 14
    assert set(names) <= set(METRICS)


def test_they_are_numbers_for_any_outputs(tmp_path: Path) -> None:
    """Of small vectors and the shipped encoder; METEOR 1.5 where Java is."""
    vectors = tmp_path / "vectors.txt"
    words = sorted({word for text in COMPLETIONS for word in re.findall(r"\w+", text.lower())})
    rng = np.random.default_rng(0)
    rows = (f"{word} {' '.join(f'{x:.3f}' for x in rng.normal(size=5))}" for word in words)
    vectors.write_text("\n".join(rows) + "\n")
    names = [name for metrics in documented().values() for name in metrics]
    if shutil.which("java") is None:
        names.remove("meteor15")
    names = [name for name in names if not name.startswith("bertscore")]  # tests/evaluation/test_bertscore.py
    settings = EvaluateSettings(metrics=tuple(names), tokenize="treebank-lower", word_vectors=str(vectors))
    scores = evaluate_texts(COMPLETIONS, REFERENCES, settings=settings)
    assert all(np.isfinite(score.value) for score in scores.values())


def test_length_counts_the_words_that_were_asked_for() -> None:
    """ "I'm so sorry." is three words at white space, and i 'm so sorry . to Treebank's rules."""
    for tokenizer, expected in (("whitespace", 3.0), ("treebank-lower", 5.0)):
        settings = EvaluateSettings(metrics=("length_tokens",), tokenize=tokenizer)  # type: ignore[arg-type]
        found = evaluate_texts(["I'm so sorry."], [["x"]], settings=settings)["length_tokens"]
        assert found.value == expected
        assert found.signature == f"words|tok:{tokenizer}"


@pytest.mark.parametrize("name", ["length", "length_tokens"])
def test_more_words_are_neither_better_nor_worse(name: str) -> None:
    from accord.evaluation.metrics.all import LOWER_IS_BETTER, NEUTRAL

    assert name in NEUTRAL
    assert name not in LOWER_IS_BETTER
