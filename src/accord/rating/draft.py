"""What a study is made of: outputs, page by page, known answers between them, and what was suggested to ask first."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from accord.errors import ConfigError, DataError
from accord.evaluation.outputs import OutputTable, read_outputs
from accord.json_files import read_numbered
from accord.rating.forms import Form, load_form
from accord.rating.settings import RateSettings
from accord.records import Output, Prompt

CHECK_SYSTEM = ""
"""Stands where a text of known answers has no system."""


class KnownAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text whose right answers are known (one line of --checks): question -> the label, or the labels that pass."""

    prompt: Prompt
    completion: str
    expected: dict[str, str | tuple[str, ...]]

    def labels(self, question: str) -> tuple[str, ...]:
        found = self.expected[question]
        return (found,) if isinstance(found, str) else found


class StudyInputs(NamedTuple):
    """The files a study is made of, as far as they are given."""

    outputs: Sequence[Path] = ()
    checks: Path | None = None
    suggestions: Path | None = None


class Sheet(NamedTuple):
    """What one page shows: the texts to be judged side by side, and the known answers to them, if any."""

    texts: tuple[Output, ...]
    kind: Literal["rate", "check"]
    priority: int = 0
    expected: tuple[KnownAnswer | None, ...] = ()


class Draft(NamedTuple):
    """A study that is not in a file yet."""

    form: Form
    settings: RateSettings
    seed: int
    prompts: dict[str, tuple[Output, list[Sheet]]]
    hashes: dict[str, str]


def draft_study(inputs: StudyInputs, settings: RateSettings, seed: int) -> Draft:
    """Read and check everything a study is made of, before any of it is written.

    Raises:
        ConfigError: settings that contradict the outputs. DataError: outputs, checks or suggestions are not what they
            should be.
    """
    form = load_form(settings.form)
    table = read_outputs(inputs.outputs)
    ranks = _ranks(inputs, settings, table)
    prompts = {}
    for place, prompt_id in enumerate(table.prompt_ids):
        cells = [table.outputs[system][place] for system in table.systems]
        sheets = [Sheet(texts, "rate", _rank(texts, ranks)) for texts in _pages(cells, form)]
        prompts[prompt_id] = (cells[0][0], sheets)
    for check in read_checks(inputs.checks, form) if inputs.checks else ():
        _add_check(prompts, check, form)
    return Draft(form, settings, seed, prompts, input_hashes(inputs, form))


def _pages(cells: Sequence[Sequence[Output]], form: Form) -> Iterator[tuple[Output, ...]]:
    """The texts for one prompt, page by page: the systems' first draws, their second, …; or every text on its own."""
    if form.layout == "single":
        yield from ((text,) for cell in cells for text in cell)
        return
    for draw in range(max(len(cell) for cell in cells)):
        yield tuple(cell[draw] for cell in cells if draw < len(cell))


def _add_check(prompts: dict[str, tuple[Output, list[Sheet]]], check: KnownAnswer, form: Form) -> None:
    """Known answers to one prompt share a page where the systems' texts do."""
    content = msgspec.json.encode(check.prompt).decode()
    prompt_id = "check:" + hashlib.sha256(content.encode()).hexdigest()[:12]
    text = Output(id=prompt_id, prompt=check.prompt, completion=check.completion, system=CHECK_SYSTEM)
    _, sheets = prompts.setdefault(prompt_id, (text, []))
    if sheets and form.layout == "together":
        old = sheets.pop()
        sheets.append(old._replace(texts=(*old.texts, text), expected=(*old.expected, check)))
    else:
        sheets.append(Sheet((text,), "check", expected=(check,)))


def read_checks(path: Path, form: Form) -> list[KnownAnswer]:
    """The known answers of a JSONL file.

    Raises:
        DataError: not such a file, or a question or label that the form does not have.
    """
    labels = {question.name: [label.value for label in question.labels] for question in form.questions}
    checks = []
    for line, check in read_numbered(path, KnownAnswer, name="known answer"):
        for question in check.expected:
            if question not in labels:
                raise DataError(
                    f'{path} line {line}: the form has no question "{question}". Expected: {", ".join(labels)}.'
                )
            for label in check.labels(question):
                if label not in labels[question]:
                    raise DataError(
                        f'{path} line {line}: question "{question}" has no label "{label}". '
                        f"Expected: {', '.join(labels[question])}."
                    )
        checks.append(check)
    if not checks:
        raise DataError(f"{path} has no rows. Expected known answers: prompt, completion, expected.")
    return checks


def _ranks(inputs: StudyInputs, settings: RateSettings, table: OutputTable) -> dict[str, int]:
    """The place of each prompt or text (`text_name`) in the suggestions; empty without them.

    Raises:
        ConfigError: suggestions in a comparison: texts chosen by what a model finds unsure are no fair sample of any
            system's. DataError: the suggestions name nothing of the outputs.
    """
    if (settings.order == "suggest") != (inputs.suggestions is not None):
        raise ConfigError("--order suggest and --suggestions FILE belong together. Give both or neither.")
    if inputs.suggestions is None:
        return {}
    if len(table.systems) > 1:
        raise ConfigError(
            f"--order suggest with outputs of {len(table.systems)} systems ({', '.join(table.systems)}): a comparison "
            "needs prompts that no model chose. Leave it out, or collect data on the outputs of one system."
        )
    rows = read_numbered(inputs.suggestions, dict[str, Any], name="suggestion")
    named = dict.fromkeys(str(row["id"]) for _, row in rows if "id" in row)
    known = {
        name for cells in table.outputs.values() for cell in cells for row in cell for name in (row.id, _name(row))
    }
    ranks = {name: rank for rank, name in enumerate(name for name in named if name in known)}
    if not ranks:
        raise DataError(
            f"{inputs.suggestions} names none of the {len(table.prompt_ids)} prompts of the outputs. Expected rows "
            "with their ids, as accord suggest writes them."
        )
    return ranks


def _rank(texts: Sequence[Output], ranks: Mapping[str, int]) -> int:
    """The best place of a page's prompt and texts; what is not suggested comes last."""
    return min(ranks.get(name, len(ranks)) for text in texts for name in (text.id, _name(text)))


def _name(text: Output) -> str:
    return text_name(text.id, text.system, text.seed, text.sample)


def text_name(prompt: str, system: str, seed: int, sample: int) -> str:
    """The id of a text in everything a study exports: `PROMPT#SYSTEM#SEED#SAMPLE`."""
    return f"{prompt}#{system}#{seed}#{sample}"


def input_hashes(inputs: StudyInputs, form: Form) -> dict[str, str]:
    """Of everything that makes a study: role -> SHA-256 of the content; roles that are not given are left out."""
    hashes = {"form": hashlib.sha256(msgspec.json.encode(form)).hexdigest()}
    if inputs.outputs:
        table = read_outputs(inputs.outputs)
        rows = [row for system in table.systems for cell in table.outputs[system] for row in cell]
        hashes["outputs"] = hashlib.sha256(msgspec.json.encode(rows)).hexdigest()
    for role, path in (("checks", inputs.checks), ("suggestions", inputs.suggestions)):
        if path is not None:
            hashes[role] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashes
