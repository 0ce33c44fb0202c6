"""The checks of the door: whether the values of a row can be an `Item`; all that is wrong is told at once."""

import re
from collections.abc import Sequence
from operator import attrgetter
from typing import Literal, NamedTuple

import msgspec

from accord.data.problems import DROP, MISSING, Problem, problem, shown
from accord.data.rows import AnnotationRow, ItemRow
from accord.data.schemes import LabelScheme, quoted
from accord.records import SPLITS, Annotation, Item, Prompt, Split

MAX_VOTES = 10_000_000
SPLIT_NAMES: dict[str, Split] = {
    **{split: split for split in SPLITS},
    "validation": "dev",
    "valid": "dev",
    "val": "dev",
}
"""What a split may be called -> its name in accord."""
MAX_PASSED = 100_000
"""How many annotations are remembered as checked, so that memory stays bounded where every annotator is another."""
_WHOLE_FLOAT = re.compile(r"(-?\d+)\.0+")
_SURROGATES = re.compile("[\ud800-\udfff]")
asked = attrgetter("annotator", "question")
"""An annotation -> what may be there once on an item: who was asked, and which question."""


class Rules(NamedTuple):
    """What a row is checked against.

    `passed`: annotations that passed before, as read -> as they leave, so that each is checked once and equal ones are
    one object. All of their fields are text: a 1 and a 1.0 are equal, but may be different labels.
    """

    labels: frozenset[str] | None
    labels_shown: str
    question: str | None
    prompts: Literal["required", "optional"]
    passed: dict[AnnotationRow, Annotation]


def build_rules(scheme: LabelScheme | None, prompts: Literal["required", "optional"]) -> Rules:
    """The rules of a scheme; without one, labels are not checked."""
    if scheme is None:
        return Rules(None, "", None, prompts, {})
    return Rules(frozenset(scheme.labels), quoted(scheme.labels), scheme.question, prompts, {})


def check_row(row: ItemRow, rules: Rules) -> tuple[Item | None, list[Problem]]:
    """Check the values of a row whose types are right; all problems at once."""
    problems: list[Problem] = []
    _check_texts(row, rules, problems)
    annotations = _check_annotations(row.annotations, rules, problems)
    if row.votes is not None:
        _check_votes(row, rules, problems)
    elif not row.annotations:
        remedy = f"Add its annotations or votes, or {DROP}."
        problems.append(problem("annotations", MISSING, "at least one annotation", remedy))
    split = None if row.split is None else SPLIT_NAMES.get(row.split)
    if row.split is not None and split is None:
        problems.append(problem("split", shown(row.split), f"one of {quoted(SPLITS)}"))
    if problems:
        return None, problems
    return (
        Item(
            id=str(row.id),
            prompt=row.prompt,
            completion=row.completion,
            annotations=annotations,
            votes=row.votes,
            group=None if row.group is None else str(row.group),
            split=split,
            system=row.system,
        ),
        [],
    )


def _check_texts(row: ItemRow, rules: Rules, problems: list[Problem]) -> None:
    check_text("id", str(row.id), problems)
    check_text("completion", row.completion, problems)
    if rules.prompts == "required" and not _has_words(row.prompt):
        remedy = "Add it, or pass --prompts optional where texts stand alone."
        problems.append(problem("prompt", shown(msgspec.to_builtins(row.prompt)), "text", remedy))
    else:
        check_text("prompt", _prompt_text(row.prompt), problems, may_be_empty=True)
    for name, value in (("group", row.group), ("system", row.system)):
        if value is not None:
            check_text(name, str(value), problems)


def check_text(name: str, text: str, problems: list[Problem], *, may_be_empty: bool = False) -> None:
    if not may_be_empty and not text.strip():
        problems.append(problem(name, shown(text), "text", f"Fill it in, or {DROP}."))
    elif "\0" in text:
        problems.append(problem(name, shown(text), "text without NUL characters", f"Remove them, or {DROP}."))
    elif not text.isascii() and _SURROGATES.search(text):
        problems.append(problem(name, shown(text), "text that UTF-8 can hold", f"Mend its escapes, or {DROP}."))


def _check_annotations(rows: Sequence[AnnotationRow], rules: Rules, problems: list[Problem]) -> tuple[Annotation, ...]:
    try:
        known = tuple(map(rules.passed.__getitem__, rows))
    except KeyError:
        known = ()
    if len(set(map(asked, known))) == len(rows):  # all passed before, and nobody is there twice
        return known
    annotations: dict[tuple[str, str | None], Annotation] = {}
    for row in rows:
        annotation = rules.passed.get(row) or _check_annotation(row, rules, problems)
        if asked(annotation) in annotations:
            problems.append(repeated_annotator(annotation))
        annotations[asked(annotation)] = annotation
    return tuple(annotations.values())


def _check_annotation(row: AnnotationRow, rules: Rules, problems: list[Problem]) -> Annotation:
    n_before = len(problems)
    annotation = Annotation(str(row.annotator), _label_text(row.label, rules.labels), row.question)
    check_text("annotator", annotation.annotator, problems)
    check_text("label", annotation.label, problems)
    if row.question is not None:
        check_text("question", row.question, problems)
    if rules.question is None or row.question == rules.question:
        _check_label(annotation.label, rules, problems)
    is_text = annotation.annotator == row.annotator and annotation.label == row.label
    if is_text and len(problems) == n_before and len(rules.passed) < MAX_PASSED:
        rules.passed[row] = annotation
    return annotation


def repeated_annotator(annotation: Annotation) -> Problem:
    asked = "" if annotation.question is None else f" for question {shown(annotation.question)}"
    remedy = f"Keep one of the two annotations, or {DROP}."
    return problem("annotator", shown(annotation.annotator), f"unique on this item{asked}", remedy)


def _check_votes(row: ItemRow, rules: Rules, problems: list[Problem]) -> None:
    assert row.votes is not None
    if row.annotations:
        remedy = "Keep the annotations where the annotators are known, else the votes."
        problems.append(problem("votes", shown(row.votes), "allowed beside annotations", remedy))
    for label, n in row.votes.items():
        check_text("label", label, problems)
        _check_label(label, rules, problems)
        if not 0 <= n <= MAX_VOTES:
            problems.append(problem(f"votes {shown(label)}", str(n), f"a count from 0 to {MAX_VOTES:,}"))
    if not sum(row.votes.values()):
        problems.append(problem("votes", shown(row.votes), "at least one vote", f"Add them, or {DROP}."))


def _check_label(label: str, rules: Rules, problems: list[Problem]) -> None:
    if rules.labels is not None and label not in rules.labels and label.strip():
        remedy = f"Add it to labels in the scheme, or {DROP}."
        problems.append(problem("label", shown(label), f"one of {rules.labels_shown}", remedy))


def _label_text(label: str | int | float, labels: frozenset[str] | None) -> str:
    """A label as text: 1 is "1", and 4.0 or "4.0" (a spreadsheet's 4) is "4" unless the scheme itself says "4.0"."""
    text = str(label)
    whole = _WHOLE_FLOAT.fullmatch(text)
    if whole and (labels is None or text not in labels):
        return whole[1]
    return text


def _prompt_text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(part for m in prompt for part in (m.role, m.content))


def _has_words(prompt: Prompt) -> bool:
    return bool(prompt.strip()) if isinstance(prompt, str) else any(m.content.strip() for m in prompt)
