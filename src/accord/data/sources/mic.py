"""MIC, the Moral Integrity Corpus (Ziems et al. 2022): prompts, chatbots' replies, and rules of thumb that workers
wrote about them, each with a grade of how many people would agree.

Read from MIC.csv or its folder (behind a data use agreement; CC BY-SA 4.0). The rule of thumb (RoT) is the completion;
`rot-agree` from 1 (nobody) to 5 (all) is its one annotation, an estimate of the share (scheme `global-consensus`).

1. What the prompt is, is a setting: "prompt_and_reply" is the column QA ("Q: ... A: ..."), as in the paper's released
   code; "prompt" the question alone, as the paper says; "tagged" is "Q [answ] A [rot]", what MIC's generators read.
2. The annotator is the worker, who also wrote the rule; where the file has no WorkerId a seat `author/ID`.
3. A row without a grade (empty, or -1, as the corpus writes it) is no item; it is counted (`n_without_annotation`).
4. `group` is the pair of prompt and reply, named by its first row. The published split is kept.
5. For generation (source `mic-prompts`) each pair is one prompt and its rules, three as published, are the references:
   nothing is decoded three times.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from accord.data.checks import SPLIT_NAMES, build_rules, check_text
from accord.data.formats import RawRow
from accord.data.problems import BadRow, Problem, bad_rows_error, printable, problem, shown
from accord.data.prompts import PromptReading
from accord.data.published import Published, published_file, published_rows
from accord.data.reader import ItemReader, Reading, read_all
from accord.data.schemes import LabelScheme, quoted
from accord.data.settings import OnBadRow, ReplyContext
from accord.errors import DataError
from accord.records import SPLITS, PromptRow

SCHEME = "global-consensus"
NO_GRADE = ("", "-1", "-1.0")
PUBLISHED = Published(
    file="MIC.csv",
    columns=("Q", "A", "QA", "rot", "rot-agree", "split"),
    origin=(
        "Ziems et al. (ACL 2022) give it out under a data use agreement (CC BY-SA 4.0): sign it and follow the "
        "README of the GitHub repository SALT-NLP/mic."
    ),
)
CONTEXTS: dict[ReplyContext, Callable[[Mapping[str, str]], str]] = {
    "prompt_and_reply": lambda cells: cells["QA"].strip(),
    "prompt": lambda cells: cells["Q"].strip(),
    "tagged": lambda cells: f"{cells['Q'].strip()} [answ] {cells['A'].strip()} [rot]",
}
_KEPT = ("chatbot", "moral", "A_agrees", "violation-severity")


def read_mic(source: Path, *, scheme: LabelScheme, on_bad_row: OnBadRow, context: ReplyContext) -> Reading:
    """Every rule of thumb with a grade, in the order of the file.

    Raises:
        DataError: the file is missing, lacks a column, holds bad rows, or no row with a grade.
    """
    path = published_file(source, PUBLISHED)
    reader = ItemReader(path.name, build_rules(scheme, "required"), on_bad_row)
    metadata: dict[str, dict[str, str]] = {}
    graded = _graded(reader, published_rows(path, PUBLISHED), context, metadata)
    reading = read_all(reader.over(reader.record_items(graded)))
    return reading._replace(metadata=[metadata[item.id] for item in reading.items])


def read_mic_prompts(source: Path, *, on_bad_row: OnBadRow, context: ReplyContext) -> PromptReading:
    """Every pair of prompt and reply once, with its rules of thumb as references, in the order of the file.

    Raises:
        DataError: the file is missing, lacks a column, or holds bad rows.
    """
    path = published_file(source, PUBLISHED)
    found: dict[str, PromptRow] = {}
    bad_rows: list[BadRow] = []
    n_rows = 0
    for raw in published_rows(path, PUBLISHED):
        n_rows += 1
        problems = list(raw.problems) if raw.value is None else _problems(raw.value, found)
        if raw.value is None or problems:
            bad_rows.append(BadRow(path.name, raw.line, problems, raw.text))
            continue
        pair, rule = raw.value["QA"], raw.value["rot"].strip()
        row = found.get(pair) or _prompt_row(raw.value, str(n_rows), context)
        found[pair] = msgspec.structs.replace(row, references=(*row.references, rule))
    if bad_rows and (on_bad_row == "raise" or not found):
        raise bad_rows_error(path.name, bad_rows)
    if not found:
        raise DataError(f"{path.name} has no rows. {PUBLISHED.expected}")
    return PromptReading(list(found.values()), [], bad_rows, n_rows, 0)


def _graded(
    reader: ItemReader, rows: Iterator[RawRow], context: ReplyContext, metadata: dict[str, dict[str, str]]
) -> Iterator[RawRow]:
    """The rows with a grade in the fields of `Item`, their id the number of their row; the others are counted."""
    reader.counts["n_without_annotation"] = 0
    pairs: dict[str, str] = {}
    for number, raw in enumerate(rows, start=1):
        cells = raw.value
        if cells is None:
            yield raw
            continue
        name = str(number)
        group = pairs.setdefault(cells["QA"], name)
        if cells["rot-agree"].strip() in NO_GRADE:
            reader.n_rows += 1
            reader.counts["n_without_annotation"] += 1
            continue
        metadata[name] = {"id": name, **{column: printable(cells[column]) for column in _KEPT if cells.get(column)}}
        worker = cells.get("WorkerId", "").strip() or f"author/{name}"
        record = {
            "id": name,
            "prompt": CONTEXTS[context](cells),
            "completion": cells["rot"].strip(),
            "annotations": [{"annotator": worker, "label": cells["rot-agree"].strip()}],
            "group": group,
            "split": cells["split"].strip(),
        }
        yield msgspec.structs.replace(raw, value=record)


def _problems(cells: Mapping[str, str], found: Mapping[str, PromptRow]) -> list[Problem]:
    """What is wrong with a row of a pair, of which other rows may have been met."""
    problems: list[Problem] = []
    for column in ("Q", "A", "QA", "rot"):
        check_text(column, cells[column], problems)
    split = SPLIT_NAMES.get(cells["split"].strip())
    before = found.get(cells["QA"])
    if split is None:
        problems.append(problem("split", shown(cells["split"]), f"one of {quoted(SPLITS)}"))
    elif before is not None and before.split != split:
        problems.append(problem("split", shown(split), f"{shown(before.split)}, as in the pair's earlier rows"))
    return problems


def _prompt_row(cells: Mapping[str, str], name: str, context: ReplyContext) -> PromptRow:
    split = SPLIT_NAMES[cells["split"].strip()]
    return PromptRow(id=name, prompt=CONTEXTS[context](cells), group=name, split=split)
