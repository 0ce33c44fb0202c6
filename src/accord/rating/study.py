"""A study: made once from outputs and a form, opened again by the same command."""

import hashlib
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from accord.artifacts import lock_folder, read_numbered
from accord.config import build_settings
from accord.errors import ArtifactError, ConfigError, DataError
from accord.evaluation.outputs import OutputTable, read_outputs
from accord.files import naming_failed_writes
from accord.ranges import check_numbers
from accord.rating.forms import Form, load_form
from accord.rating.settings import RateSettings
from accord.rating.store import STUDY_FILE, Store
from accord.records import Output, Prompt

State = Literal["open", "paused", "closed"]
CHECK_SYSTEM = ""
"""Stands where a text of known answers has no system."""


class Study(NamedTuple):
    """What holds for the whole of a study. `key` signs cookies and form tokens, `secret` opens the admin page."""

    title: str
    form: Form
    settings: RateSettings
    seed: int
    secret: str
    key: bytes


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


def open_study(folder: Path, inputs: StudyInputs, *, settings: RateSettings, seed: int) -> Store:
    """The study in `folder`, made if it is not there yet; this process alone may serve it.

    Raises:
        ConfigError: the study there was made of other outputs, form or settings; settings that contradict the outputs.
        DataError: outputs, checks or suggestions are not what they should be. ArtifactError: another process serves it.
    """
    check_numbers(settings)
    path = folder / STUDY_FILE
    if path.is_file():
        lock_folder(folder)
        store = Store(path)
        _require_same(store, inputs, settings, seed)
        return store
    if not inputs.outputs:
        raise ConfigError(
            f"{path} does not exist. Name the outputs that are to be rated, or the --study to go on with."
        )
    draft = _draft(inputs, settings, seed)
    with naming_failed_writes(folder, *folder.parents):
        folder.mkdir(parents=True, exist_ok=True)
    lock_folder(folder)
    return _make(path, draft)


def load_study(store: Store) -> Study:
    """What holds for the whole of the study."""
    row = store.read("SELECT * FROM study")[0]
    return Study(
        title=row["title"],
        form=msgspec.json.decode(row["form"], type=Form),
        settings=build_settings(RateSettings, json.loads(row["settings"]), where=str(store.path)),
        seed=row["seed"],
        secret=row["secret"],
        key=row["key"],
    )


def read_study(path: Path) -> Store:
    """The study in an existing file, or in the folder that holds it.

    Raises:
        ArtifactError: there is none.
    """
    path = path / STUDY_FILE if path.is_dir() else path
    if not path.is_file():
        raise ArtifactError(f"{path} does not exist. Expected the {STUDY_FILE} of a study.")
    store = Store(path)
    if not store.read("SELECT 1 FROM study"):
        store.close()
        raise ArtifactError(f"{path} holds no study. Make one with accord rate.")
    return store


def study_state(connection: sqlite3.Connection) -> State:
    state: State = connection.execute("SELECT state FROM study").fetchone()[0]
    return state


# -- what is asked for ------------------------------------------------------------------------------------------


class _Sheet(NamedTuple):
    """What one page shows: the texts to be judged side by side, and the known answers to them, if any."""

    texts: tuple[Output, ...]
    kind: Literal["rate", "check"]
    priority: int = 0
    expected: tuple[KnownAnswer | None, ...] = ()


class _Draft(NamedTuple):
    """A study that is not in a file yet."""

    form: Form
    settings: RateSettings
    seed: int
    prompts: dict[str, tuple[Output, list[_Sheet]]]
    hashes: dict[str, str]


def _draft(inputs: StudyInputs, settings: RateSettings, seed: int) -> _Draft:
    form = load_form(settings.form)
    table = read_outputs(inputs.outputs)
    ranks = _ranks(inputs, settings, table)
    prompts = {}
    for place, prompt_id in enumerate(table.prompt_ids):
        cells = [table.outputs[system][place] for system in table.systems]
        sheets = [_Sheet(texts, "rate", _rank(texts, ranks)) for texts in _pages(cells, form)]
        prompts[prompt_id] = (cells[0][0], sheets)
    for check in read_checks(inputs.checks, form) if inputs.checks else ():
        _add_check(prompts, check, form)
    return _Draft(form, settings, seed, prompts, input_hashes(inputs, form))


def _pages(cells: Sequence[Sequence[Output]], form: Form) -> Iterator[tuple[Output, ...]]:
    """The texts for one prompt, page by page: the systems' first draws, their second, …; or every text on its own."""
    if form.layout == "single":
        yield from ((text,) for cell in cells for text in cell)
        return
    for draw in range(max(len(cell) for cell in cells)):
        yield tuple(cell[draw] for cell in cells if draw < len(cell))


def _add_check(prompts: dict[str, tuple[Output, list[_Sheet]]], check: KnownAnswer, form: Form) -> None:
    """Known answers to one prompt share a page where the systems' texts do."""
    content = msgspec.json.encode(check.prompt).decode()
    prompt_id = "check:" + hashlib.sha256(content.encode()).hexdigest()[:12]
    text = Output(id=prompt_id, prompt=check.prompt, completion=check.completion, system=CHECK_SYSTEM)
    _, sheets = prompts.setdefault(prompt_id, (text, []))
    if sheets and form.layout == "together":
        old = sheets.pop()
        sheets.append(old._replace(texts=(*old.texts, text), expected=(*old.expected, check)))
    else:
        sheets.append(_Sheet((text,), "check", expected=(check,)))


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


# -- making it --------------------------------------------------------------------------------------------------


def _make(path: Path, draft: _Draft) -> Store:
    with naming_failed_writes(path):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))  # links and answers are the owner's alone
    store = Store(path)
    try:
        store.write_now(lambda connection: _insert(connection, draft))
    except BaseException:
        store.close()
        path.unlink()
        raise
    return store


def _insert(connection: sqlite3.Connection, draft: _Draft) -> None:
    connection.execute(
        "INSERT INTO study VALUES (1, ?, ?, ?, ?, ?, 'open', ?, ?)",
        (
            draft.settings.title or draft.form.title,
            msgspec.json.encode(draft.form).decode(),
            json.dumps(asdict(draft.settings)),
            json.dumps(draft.hashes),
            draft.seed,
            secrets.token_urlsafe(24),
            secrets.token_bytes(32),
        ),
    )
    for name, (first, sheets) in draft.prompts.items():
        prompt = connection.execute(
            "INSERT INTO prompts (name, prompt, cluster) VALUES (?, ?, ?)",
            (name, msgspec.json.encode(first.prompt).decode(), first.group if first.group is not None else name),
        ).lastrowid
        for sheet in sheets:
            _insert_sheet(connection, prompt, sheet)


def _insert_sheet(connection: sqlite3.Connection, prompt: int | None, sheet: _Sheet) -> None:
    number = connection.execute(
        "INSERT INTO sheets (prompt, kind, priority) VALUES (?, ?, ?)", (prompt, sheet.kind, sheet.priority)
    ).lastrowid
    expected = sheet.expected or (None,) * len(sheet.texts)
    rows = [
        (
            number,
            text.system,
            text.seed,
            text.sample,
            text.completion,
            None if known is None else json.dumps({question: known.labels(question) for question in known.expected}),
        )
        for text, known in zip(sheet.texts, expected, strict=True)
    ]
    connection.executemany(
        "INSERT INTO texts (sheet, system, seed, sample, completion, expected) VALUES (?, ?, ?, ?, ?, ?)", rows
    )


# -- opening it again -------------------------------------------------------------------------------------------


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


def _require_same(store: Store, inputs: StudyInputs, settings: RateSettings, seed: int) -> None:
    """Whatever is given must be as it was when the study was made; what is left out stays as it was."""
    rows = store.read("SELECT settings, inputs, seed FROM study")
    if not rows:
        raise ArtifactError(f"{store.path} holds no study: making it was interrupted. Delete it and run this again.")
    row = rows[0]
    is_whole = bool(inputs.outputs)
    differing = _differing_settings(json.loads(row["settings"]), settings, is_whole=is_whole)
    if seed != row["seed"] and (is_whole or seed != 0):
        differing.append(f"seed ({row['seed']} there, {seed} now)")
    stored = json.loads(row["inputs"])
    if is_whole or settings.form != RateSettings().form:
        now: Mapping[str, str] = input_hashes(inputs, load_form(settings.form))
        differing += [f"{role} (content)" for role, found in now.items() if stored.get(role) != found]
    if differing:
        raise ConfigError(
            f"{store.path} holds a study in which these differ: {', '.join(dict.fromkeys(differing))}. Choose another "
            "--study, or give what it was made with."
        )


def _differing_settings(stored: dict[str, Any], settings: RateSettings, *, is_whole: bool) -> list[str]:
    differing = []
    for field in fields(settings):
        now, there = getattr(settings, field.name), stored.get(field.name, field.default)
        if field.name != "form" and now != there and (is_whole or now != field.default):
            differing.append(f"{field.name} ({there!r} there, {now!r} now)")
    return differing
