"""Hostile files in the place of known corpora: items or prompts, or one error that can be printed; no traceback."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accord.data.dialogues import History
from accord.data.published import Published
from accord.data.schemes import SCHEMES
from accord.data.settings import OnBadRow
from accord.data.sources import annomi, mi, mic, socialchem
from accord.data.sources.annomi import read_annomi
from accord.data.sources.esconv import read_esconv
from accord.data.sources.mi import read_mi
from accord.data.sources.mic import read_mic, read_mic_prompts
from accord.data.sources.scruples import SUFFIX, read_scruples
from accord.data.sources.socialchem import read_socialchem
from accord.errors import DataError

FUZZ = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["\ud800", "\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
UTTERANCES = st.fixed_dictionaries(
    {"speaker": st.sampled_from(["usr", "sys", "seeker"]) | VALUES},
    optional={"text": VALUES, "content": VALUES, "strategy": VALUES, "annotation": VALUES},
)
DIALOGUES = st.fixed_dictionaries(
    {}, optional={"dialog": st.lists(UTTERANCES, max_size=3) | VALUES, "situation": VALUES}
)
ACTIONS = st.lists(st.fixed_dictionaries({"description": VALUES}), min_size=2, max_size=2)
PAIRS = st.fixed_dictionaries(
    {"id": VALUES},
    optional={"actions": ACTIONS | VALUES, **dict.fromkeys(("gold_annotations", "human_perf_annotations"), VALUES)},
)
WORDS = "therapist client speaker listener train none advice other warn 0 1 n/a - x,y".split()
CELLS = st.sampled_from([*WORDS, "", "\0", '"', "x\ty", "9" * 4400])
TABLES: dict[str, tuple[Published, Callable[[Path, OnBadRow], Any]]] = {
    "annomi": (
        annomi.PUBLISHED,
        lambda path, rule: read_annomi(path, scheme=SCHEMES["no-advice"], on_bad_row=rule, history=History()),
    ),
    "mi": (
        mi.PUBLISHED,
        lambda path, rule: read_mi(path, scheme=SCHEMES["mi-codes"], on_bad_row=rule, history=History()),
    ),
    "mic": (
        mic.PUBLISHED,
        lambda path, rule: read_mic(path, scheme=SCHEMES[mic.SCHEME], on_bad_row=rule, context="tagged"),
    ),
    "mic-prompts": (mic.PUBLISHED, lambda path, rule: read_mic_prompts(path, on_bad_row=rule, context="prompt")),
    "socialchem": (
        socialchem.PUBLISHED,
        lambda path, rule: read_socialchem(path, scheme=SCHEMES[socialchem.SCHEME], on_bad_row=rule),
    ),
}


def read_both_ways(read: Callable[[OnBadRow], Any]) -> None:
    choices: tuple[OnBadRow, ...] = ("raise", "skip")
    for on_bad_row in choices:
        try:
            read(on_bad_row)
        except DataError as error:
            str(error).encode()


@FUZZ
@given(st.lists(DIALOGUES, max_size=3), st.booleans())
def test_any_dialogues(tmp_path: Path, dialogues: list[Any], is_json: bool) -> None:
    path = tmp_path / ("ESConv.json" if is_json else "train.jsonl")
    path.write_text(json.dumps(dialogues) if is_json else "".join(json.dumps(one) + "\n" for one in dialogues))
    read_both_ways(lambda on_bad_row: read_esconv(path, on_bad_row=on_bad_row, history=History()))


@FUZZ
@given(st.lists(PAIRS, max_size=3))
def test_any_pairs(tmp_path: Path, pairs: list[Any]) -> None:
    path = tmp_path / f"dev{SUFFIX}"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    read_both_ways(lambda on_bad_row: read_scruples(path, scheme=SCHEMES["more-ethical"], on_bad_row=on_bad_row))


@pytest.mark.parametrize("name", TABLES)
@FUZZ
@given(st.data())
def test_any_table(tmp_path: Path, name: str, data: st.DataObject) -> None:
    published, read = TABLES[name]
    n_columns = len(published.columns)
    rows = data.draw(st.lists(st.lists(CELLS, min_size=n_columns, max_size=n_columns), max_size=4))
    lines = [published.delimiter.join(cells) for cells in (published.columns, *rows)]
    path = tmp_path / published.file
    path.write_text("\n".join(lines))
    read_both_ways(lambda rule: read(path, rule))


CONTENTS = [b"", b"\n", b"{", b"\xff\xfe[\x00", b"[" * 9000, b"\xef\xbb\xbf", b"PK\x03\x04"]


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", TABLES)
def test_any_bytes_in_place_of_a_table(tmp_path: Path, name: str, content: bytes) -> None:
    published, read = TABLES[name]
    (tmp_path / published.file).write_bytes(content)
    with pytest.raises(DataError):
        read(tmp_path, "raise")


@pytest.mark.parametrize("content", CONTENTS)
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    for name in ("ESConv.json", "train.jsonl", f"dev{SUFFIX}"):
        (tmp_path / name).write_bytes(content)
    for source in (tmp_path / "ESConv.json", tmp_path / "train.jsonl"):
        with pytest.raises(DataError):
            read_esconv(source, on_bad_row="raise", history=History())
    with pytest.raises(DataError):
        read_scruples(tmp_path, scheme=SCHEMES["more-ethical"], on_bad_row="raise")
