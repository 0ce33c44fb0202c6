"""Making a study and going on with it (src/accord/rating/study.py)."""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from accord.errors import AccordError, ArtifactError, ConfigError, DataError
from accord.json_files import write_jsonl
from accord.rating.annotators import delete_annotator, invite_until, read_annotators, revoke
from accord.rating.draft import StudyInputs, read_checks
from accord.rating.forms import load_form
from accord.rating.security import addresses
from accord.rating.serve import describe_server
from accord.rating.settings import RateSettings, ServeSettings
from accord.rating.store import Store
from accord.rating.study import load_study, open_study, read_study
from rating_clients import outputs_file

FORM = RateSettings(form="acceptable")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Any]:
    """Open the study in `tmp_path`/study, of two systems unless told otherwise."""
    paths = [outputs_file(tmp_path / f"{name}.jsonl", name) for name in ("base", "human")]
    with ExitStack() as stack:

        def open_(inputs: StudyInputs | None = None, settings: RateSettings = FORM, seed: int = 0) -> Store:
            inputs = StudyInputs(paths) if inputs is None else inputs
            store = open_study(tmp_path / "study", inputs, settings=settings, seed=seed)
            stack.callback(store.close)
            return store

        yield open_


def test_the_same_command_goes_on(opened: Any, tmp_path: Path) -> None:
    first = load_study(opened())
    assert load_study(opened()) == first
    assert load_study(opened(StudyInputs())) == first
    assert load_study(opened(StudyInputs(), RateSettings())) == first
    assert first.form == load_form("acceptable")
    assert first.title == "Would you accept this text?"
    assert len(first.secret) >= 32


def test_only_the_owner_can_read_the_file(opened: Any, tmp_path: Path) -> None:
    path = opened().path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    wal = path.with_name("study.sqlite-wal")
    assert not wal.exists() or stat.S_IMODE(wal.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"settings": RateSettings(form="rule-of-thumb")}, "form (content)"),
        ({"settings": RateSettings(form="acceptable", repeats=2)}, "repeats (0 there, 2 now)"),
        ({"inputs": StudyInputs(), "settings": RateSettings(repeats=2)}, "repeats (0 there, 2 now)"),
        ({"seed": 7}, "seed (0 there, 7 now)"),
    ],
)
def test_other_settings_are_refused_by_name(opened: Any, tmp_path: Path, change: dict[str, Any], differs: str) -> None:
    opened().close()
    expected = f"{tmp_path / 'study' / 'study.sqlite'} holds a study in which these differ: {differs}. Choose another"
    with pytest.raises(ConfigError, match=re.escape(expected)):
        opened(**change)


def test_other_outputs_are_refused(opened: Any, tmp_path: Path) -> None:
    opened().close()
    outputs = [outputs_file(tmp_path / "base.jsonl", "base", n_prompts=3)]
    with pytest.raises(ConfigError, match=re.escape("these differ: outputs (content)")):
        opened(StudyInputs(outputs))


def test_a_study_that_is_not_there_needs_outputs(opened: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not exist\. Name the outputs that are to be rated"):
        opened(StudyInputs())
    assert not (tmp_path / "study").exists()
    with pytest.raises(ArtifactError, match=r"absent does not exist. Expected the study.sqlite of a study."):
        read_study(tmp_path / "absent")


def test_what_is_wrong_with_the_inputs_leaves_no_study_behind(opened: Any, tmp_path: Path) -> None:
    path = tmp_path / "checks.jsonl"
    path.write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="has no rows"):
        opened(StudyInputs([tmp_path / "base.jsonl"], checks=path))
    assert not (tmp_path / "study").exists()
    opened()


def test_one_process_serves_a_study(opened: Any, tmp_path: Path) -> None:
    """A second one is refused while the first lives; locks are per process, hence the fork."""
    opened()
    child = os.fork()
    if child == 0:
        try:
            open_study(tmp_path / "study", StudyInputs(), settings=FORM, seed=0)
        except AccordError as error:
            os._exit(3 if "another process is writing to" in str(error) else 4)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


def test_starting_again_replaces_nobody(opened: Any) -> None:
    """Three links, one revoked, one deleted: the same command makes none; five wanted makes two."""
    store = opened()

    def names(n_annotators: int) -> list[str]:
        store.write_now(lambda connection: invite_until(connection, n_annotators))
        with store.snapshot() as connection:
            return [annotator.name for annotator in read_annotators(connection)]

    assert names(3) == ["r1", "r2", "r3"]
    store.write_now(lambda connection: revoke(connection, 1))
    store.write_now(lambda connection: delete_annotator(connection, 3))
    assert names(3) == ["r1", "r2"]
    assert names(5) == ["r1", "r2", "r4", "r5"]


# -- what is said at the start --------------------------------------------------------------------------------------


def told(store: Store, settings: ServeSettings, n_annotators: int) -> list[str]:
    store.write_now(lambda connection: invite_until(connection, n_annotators))
    return describe_server(store, addresses(settings, 8765), settings).warnings


def test_too_few_annotators_are_warned_about(opened: Any) -> None:
    """One text a page, two systems, three wanted: six people, because nobody meets a prompt twice."""
    store = opened()
    assert told(store, ServeSettings(), 5) == [
        "6 annotators are needed for all texts to be rated as often as asked for, because each of them meets a prompt "
        "once; there are 5 links. Make more with --annotators or on the admin page."
    ]
    assert told(store, ServeSettings(), 6) == []


def test_anything_but_loopback_is_warned_about(opened: Any) -> None:
    store = opened()
    assert told(store, ServeSettings(host="192.168.1.5"), 6) == [
        "listening on 192.168.1.5: everybody who can reach this machine can reach the study.",
        "links and answers travel unencrypted; put a proxy with https before it (--public-url).",
    ]
    behind_a_proxy = ServeSettings(host="192.168.1.5", public_url="https://rate.example")
    assert told(store, behind_a_proxy, 6) == [
        "listening on 192.168.1.5: everybody who can reach this machine can reach the study."
    ]


# -- suggestions ----------------------------------------------------------------------------------------------------


def test_suggestions_order_the_collection_of_data(opened: Any, tmp_path: Path) -> None:
    """They may name prompts, or texts as an earlier study's export does."""
    path = tmp_path / "suggestions.jsonl"
    write_jsonl(path, [{"id": "p2"}, {"id": "unknown"}, {"id": "p0#base#0#0"}])
    inputs = StudyInputs([tmp_path / "base.jsonl"], suggestions=path)
    store = opened(inputs, RateSettings(form="acceptable", order="suggest"))
    rows = store.read("SELECT name, priority FROM sheets JOIN prompts ON prompts.id = sheets.prompt ORDER BY name")
    assert [tuple(row) for row in rows] == [("p0", 1), ("p1", 2), ("p2", 0), ("p3", 2)]


def test_suggestions_are_refused_in_a_comparison(opened: Any, tmp_path: Path) -> None:
    path = tmp_path / "suggestions.jsonl"
    write_jsonl(path, [{"id": "p2"}])
    both = [tmp_path / "base.jsonl", tmp_path / "human.jsonl"]
    settings = RateSettings(form="acceptable", order="suggest")
    expected = (
        "--order suggest with outputs of 2 systems (base, human): a comparison needs prompts that no model chose."
    )
    with pytest.raises(ConfigError, match=re.escape(expected)):
        opened(StudyInputs(both, suggestions=path), settings)
    with pytest.raises(ConfigError, match="--order suggest and --suggestions FILE belong together"):
        opened(StudyInputs(both[:1]), settings)
    with pytest.raises(ConfigError, match="--order suggest and --suggestions FILE belong together"):
        opened(StudyInputs(both[:1], suggestions=path))
    write_jsonl(path, [{"id": "nowhere"}])
    with pytest.raises(DataError, match="names none of the 4 prompts of the outputs"):
        opened(StudyInputs(both[:1], suggestions=path), settings)


# -- known answers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({"expected": {"kindness": "5"}}, 'line 1: the form has no question "kindness". Expected: well_formedness,'),
        ({"expected": {"fluency": "9"}}, 'line 1: question "fluency" has no label "9". Expected: 1, 2, 3, 4, 5.'),
        ({"expected": {"fluency": ["5", "six"]}}, 'line 1: question "fluency" has no label "six".'),
        ({}, "line 1: Object missing required field `expected`."),
        ({"expected": {}, "system": "x"}, "line 1: Object contains unknown field `system`."),
    ],
)
def test_checks_that_do_not_fit_the_form_are_refused(tmp_path: Path, row: dict[str, Any], error: str) -> None:
    path = tmp_path / "checks.jsonl"
    write_jsonl(path, [{"prompt": "p", "completion": "c", **row}])
    with pytest.raises(DataError, match=re.escape(error)):
        read_checks(path, load_form("rule-of-thumb"))


def test_known_answers_to_one_prompt_share_a_page_where_texts_do(opened: Any, tmp_path: Path) -> None:
    path = tmp_path / "checks.jsonl"
    rows = [{"prompt": prompt, "completion": text, "expected": {}} for prompt, text in ("pa", "pb", "qc")]
    write_jsonl(path, rows)
    inputs = StudyInputs([tmp_path / "base.jsonl"], checks=path)
    store = opened(inputs, RateSettings(form="rule-of-thumb"))
    rows = store.read("SELECT sheet, completion FROM texts WHERE expected IS NOT NULL ORDER BY id")
    assert [row["completion"] for row in rows] == ["a", "b", "c"]
    assert rows[0]["sheet"] == rows[1]["sheet"] != rows[2]["sheet"]


def test_the_known_answers_of_the_documentation_are_some(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "rating.md").read_text(encoding="utf-8")
    written = re.findall(r"`checks.jsonl`:\n\n```json\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "checks.jsonl"
    path.write_text(written[0], encoding="utf-8")
    assert [check.labels("relevance") for check in read_checks(path, load_form("rule-of-thumb"))] == [("1",)]
