"""Social Chemistry 101 (Forbes et al. 2020): rules of thumb about situations, and how many people workers think agree.

Read from social-chem-101.v1.0.tsv or its folder (CC BY-SA 4.0). The situation is the prompt, the rule of thumb the
completion; `rot-agree`, 0 (under 1 %) to 4 (over 99 %), estimates the share of people who agree, on the scale of MIC:
0 to 4 are 1 to 5 of scheme `global-consensus`.

1. A row is what one worker said of a rule: one on most rules, five more on some of dev and test, fifty on a few. The
   annotator is the worker who judged (`breakdown-worker-id`), not the one who wrote the rule.
2. An empty `rot-agree` was not answered; such a row is no annotation and is counted (`n_without_annotation`).
3. `group` is the situation. Its rules are on one side of the published split; "dev-extra" and "test-extra" are dev
   and test, and "analysis" and "none", further judgements of the same rules, go where their situation is.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from accord.data.checks import build_rules
from accord.data.formats import RawRow
from accord.data.problems import Problem, problem, shown
from accord.data.published import Published, published_file, published_rows
from accord.data.reader import ItemReader, Reading, read_all
from accord.data.schemes import LabelScheme, quoted
from accord.data.settings import OnBadRow
from accord.data.tables import merged
from accord.records import Item, Split

SCHEME = "global-consensus"
PUBLISHED = Published(
    file="social-chem-101.v1.0.tsv",
    columns=("split", "rot-agree", "situation", "situation-short-id", "rot", "rot-id", "breakdown-worker-id"),
    origin=(
        "Forbes et al. (EMNLP 2020) publish it under CC BY-SA 4.0; the README of the GitHub repository "
        "mbforbes/social-chemistry-101 links to it."
    ),
    delimiter="\t",
)
GRADES = {str(found): str(found + 1) for found in range(5)} | {f"{found}.0": str(found + 1) for found in range(5)}
"""`rot-agree` as written, also with the decimals that pandas adds -> the grade of the scheme."""
MAIN_SPLITS: dict[str, Split] = {
    "train": "train",
    "dev": "dev",
    "test": "test",
    "dev-extra": "dev",
    "test-extra": "test",
}
FURTHER_SPLITS = ("analysis", "none")


def read_socialchem(source: Path, *, scheme: LabelScheme, on_bad_row: OnBadRow) -> Reading:
    """Every rule of thumb with all its judgements, in the order first met. The file is read twice, streaming.

    Raises:
        DataError: the file is missing, lacks a column, holds bad rows, or no row with an answer.
    """
    path = published_file(source, PUBLISHED)
    sides = _sides(published_rows(path, PUBLISHED))
    reader = ItemReader(path.name, build_rules(scheme, "required"), on_bad_row)
    judged = _judged(reader, published_rows(path, PUBLISHED), sides)
    return read_all(reader.over(merged(reader, judged)))


def _sides(rows: Iterator[RawRow]) -> dict[str, Split]:
    """Situation -> its side of the published split."""
    sides: dict[str, Split] = {}
    for raw in rows:
        if raw.value is not None and raw.value["split"] in MAIN_SPLITS:
            sides.setdefault(raw.value["situation-short-id"], MAIN_SPLITS[raw.value["split"]])
    return sides


def _judged(reader: ItemReader, rows: Iterator[RawRow], sides: Mapping[str, Split]) -> Iterator[tuple[RawRow, Item]]:
    """Each answered row as an item with one annotation; the others are counted."""
    reader.counts["n_without_annotation"] = 0
    for raw in reader.counted(rows):
        if raw.value is None:
            reader.reject(raw.line, raw.text, raw.problems)
            continue
        answer = raw.value["rot-agree"].strip()
        if not answer:
            reader.counts["n_without_annotation"] += 1
            continue
        split, problems = _split(raw.value, sides)
        record = {
            "id": raw.value["rot-id"],
            "prompt": raw.value["situation"].strip(),
            "completion": raw.value["rot"].strip(),
            "annotations": [{"annotator": raw.value["breakdown-worker-id"], "label": GRADES.get(answer, answer)}],
            "group": raw.value["situation-short-id"],
            "split": split,
        }
        if answer not in GRADES:
            problems.append(problem("rot-agree", shown(answer), "a whole number from 0 to 4"))
        row, more = reader.read(record) if not problems else (None, problems)
        item = reader.accept(raw.line, raw.text, row, more, {})
        if item is not None:
            yield raw, item


def _split(cells: Mapping[str, str], sides: Mapping[str, Split]) -> tuple[Split | None, list[Problem]]:
    """The side of a row's situation, and what is wrong with the row's own."""
    found, side = cells["split"], sides.get(cells["situation-short-id"])
    if found not in MAIN_SPLITS and found not in FURTHER_SPLITS:
        return None, [problem("split", shown(found), f"one of {quoted((*MAIN_SPLITS, *FURTHER_SPLITS))}")]
    if side is None:
        return None, [problem("split", shown(found), f"a side, nor has its situation one of {quoted(MAIN_SPLITS)}")]
    if found in MAIN_SPLITS and MAIN_SPLITS[found] != side:
        return None, [problem("split", shown(found), f"the side of its situation's first row, {shown(side)}")]
    return side, []
