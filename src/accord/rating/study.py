"""A study: made once from outputs and a form, opened again by the same command."""

import json
import os
import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from accord.artifacts import lock_folder
from accord.config import build_settings
from accord.errors import ArtifactError, ConfigError
from accord.files import naming_failed_writes
from accord.ranges import check_numbers
from accord.rating.draft import Draft, Sheet, StudyInputs, draft_study, input_hashes
from accord.rating.forms import Form, load_form
from accord.rating.settings import RateSettings
from accord.rating.store import STUDY_FILE, Store

State = Literal["open", "paused", "closed"]


class Study(NamedTuple):
    """What holds for the whole of a study. `key` signs cookies and form tokens, `secret` opens the admin page."""

    title: str
    form: Form
    settings: RateSettings
    seed: int
    secret: str
    key: bytes


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
    draft = draft_study(inputs, settings, seed)
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


# -- making it --------------------------------------------------------------------------------------------------


def _make(path: Path, draft: Draft) -> Store:
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


def _insert(connection: sqlite3.Connection, draft: Draft) -> None:
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


def _insert_sheet(connection: sqlite3.Connection, prompt: int | None, sheet: Sheet) -> None:
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
