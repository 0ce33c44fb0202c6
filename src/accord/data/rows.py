"""An object as found becomes a row whose types are right; its values are checks.py's business."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from accord.data.problems import DROP, MISSING, UNREADABLE, Problem, printable, problem, shown
from accord.records import Message

ITEM_FIELDS = ("id", "prompt", "completion", "annotations", "votes", "group", "split", "system")


class AnnotationRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    annotator: str | int
    label: str | int | float
    question: str | None = None


class ItemRow(msgspec.Struct, forbid_unknown_fields=True):
    """A row whose types are right. Its values are still to be checked."""

    id: str | int
    prompt: str | tuple[Message, ...]
    completion: str
    annotations: tuple[AnnotationRow, ...] = ()
    votes: dict[str, int] | None = None
    group: str | int | None = None
    split: str | None = None
    system: str | None = None

    @property
    def n_keys(self) -> int:
        """How many keys its JSON text has, those of null and of an empty list apart."""
        n_annotations = len(self.annotations)
        n_annotation_keys = 3 * n_annotations - [row.question for row in self.annotations].count(None)
        n_prompt_keys = 0 if isinstance(self.prompt, str) else 2 * len(self.prompt)
        n_fields = 6 + bool(self.annotations) - (self.group, self.split, self.system).count(None)
        return n_fields + n_annotation_keys + n_prompt_keys + (0 if self.votes is None else 1 + len(self.votes))


def may_repeat_a_key(line: bytes, row: ItemRow) -> bool:
    """Whether an object of the line may have a key twice; rarely true without cause, never false with one."""
    n_keys = row.n_keys
    return line.count(b":") != n_keys and line.translate(None, b" \t\r").count(b'":') != n_keys


def read_fields(
    record: Mapping[str, Any], *, renames: Mapping[str, str], is_prompt_optional: bool, ignored: Counter[str]
) -> tuple[ItemRow | None, list[Problem]]:
    """Read an object field by field, so that every wrong one is named; unknown fields are counted in `ignored`."""
    fields = {renames.get(str(key), str(key)): value for key, value in record.items()}
    for name in fields:
        if name not in ITEM_FIELDS:
            ignored[printable(name)] += 1
    problems: list[Problem] = []
    if is_prompt_optional and fields.get("prompt") is None:
        fields["prompt"] = ""
    values = {
        "id": _typed(fields, "id", str | int, "text or a whole number", problems),
        "prompt": _typed(fields, "prompt", str | tuple[Message, ...], "text or a chat of role and content", problems),
        "completion": _typed(fields, "completion", str, "text", problems),
        "votes": _typed(fields, "votes", dict[str, int] | None, "an object label -> count", problems, None),
        "group": _typed(fields, "group", str | int | None, "text or a whole number", problems, None),
        "split": _typed(fields, "split", str | None, "text", problems, None),
        "system": _typed(fields, "system", str | None, "text", problems, None),
        "annotations": _annotation_rows(fields.get("annotations"), ignored, problems),
    }
    return (None, problems) if problems else (ItemRow(**values), [])


def _annotation_rows(found: Any, ignored: Counter[str], problems: list[Problem]) -> tuple[AnnotationRow, ...]:
    if found is None:
        return ()
    if not isinstance(found, list | tuple):
        problems.append(problem("annotations", shown(found), "a list of {annotator, label}"))
        return ()
    rows = []
    for position, entry in enumerate(found, start=1):
        if not isinstance(entry, dict):
            problems.append(problem(f"annotation {position}", shown(entry), "an object {annotator, label}"))
            continue
        for name in entry:
            if name not in ("annotator", "label", "question"):
                ignored[printable(f"annotations.{name}")] += 1
        before = len(problems)
        values = {
            "annotator": _typed(entry, "annotator", str | int, "text or a whole number", problems),
            "label": _typed(entry, "label", str | int | float, "text or a number", problems),
            "question": _typed(entry, "question", str | None, "text", problems, None),
        }
        if len(problems) == before:
            rows.append(AnnotationRow(**values))
    return tuple(rows)


_REQUIRED = object()


def _typed(
    fields: Mapping[str, Any],
    name: str,
    kind: Any,
    expected: str,
    problems: list[Problem],
    default: Any = _REQUIRED,
) -> Any:
    """`fields[name]` as `kind`; what is wrong with it goes to `problems`."""
    value = fields.get(name, default)
    if value is _REQUIRED:
        remedy = f"Add it, name the field that holds it with --rename FOUND={name}, or {DROP}."
        problems.append(problem(name, MISSING, expected, remedy))
        return None
    try:
        return msgspec.convert(value, kind)
    except UNREADABLE:
        problems.append(problem(name, shown(value), expected))
        return None
