"""A study from the first link to the export, asked as a browser would ask (src/accord/rating/app.py)."""

import csv
import io
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from accord.json_files import write_jsonl
from accord.rating.admin import overview
from accord.rating.annotators import invite_until
from accord.rating.draft import StudyInputs
from accord.rating.export import export_study
from accord.rating.settings import RateSettings
from accord.rating.store import Store
from accord.rating.study import load_study, open_study
from accord.records import Output
from rating_clients import (
    Person,
    admin_path,
    completions_of,
    csrf_of,
    links,
    make_study,
    open_client,
    questions_of,
)


class Served:
    """A study, its annotators, its admin."""

    def __init__(self, store: Store, client: TestClient) -> None:
        self.store, self.client = store, client
        self.people = [Person(client, link) for link in links(store)]
        self.admin = admin_path(store)

    def act(self, action: str, **fields: str) -> Any:
        csrf = csrf_of(self.client.get(self.admin).text)
        return self.client.post(f"{self.admin}/{action}", data={"csrf": csrf, **fields})

    def overview(self) -> dict[str, Any]:
        """The numbers that the admin page shows, without the tokens of links."""
        with self.store.snapshot() as connection:
            found = overview(connection, load_study(self.store))
        rows = [{key: value for key, value in row.items() if key != "token"} for row in found["annotators"]]
        return {**found, "annotators": rows}

    def exported(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.client.get(f"{self.admin}/export.jsonl").text.splitlines()]

    def given(self) -> dict[tuple[str, str, str], str]:
        """(annotator, completion, question) -> label, as exported."""
        return {
            (rating["annotator"], row["completion"], rating["question"]): rating["label"]
            for row in self.exported()
            for rating in row["annotations"]
        }


ServedMaker = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedMaker]:
    monkeypatch.setattr("accord.rating.admin.FRESH_SECONDS", 0.0)
    monkeypatch.setattr("accord.rating.admin.FRESH_SHARE", 0.0)
    with ExitStack() as stack:

        def make(**settings: Any) -> Served:
            store = make_study(tmp_path, **settings)
            stack.callback(store.close)
            return Served(store, stack.enter_context(open_client(store)))

        yield make


# -- an annotator's way ---------------------------------------------------------------------------------------------


def test_a_link_leads_through_welcome_and_every_page_to_the_code(serve: ServedMaker) -> None:
    served = serve(n_prompts=2)
    person = served.people[0]
    assert served.client.get(person.link).headers["location"] == f"{person.link}/welcome"
    assert served.client.get(f"{person.link}/tasks/1").headers["location"] == f"{person.link}/welcome"
    assert served.client.get(f"{person.link}/done").headers["location"] == f"{person.link}/welcome"
    assert person.agree().headers["location"] == person.link
    for number in (1, 2):
        assert served.client.get(person.link).headers["location"] == f"{person.link}/tasks/{number}"
        page = person.open() or ""
        for item, question, _, labels in questions_of(page):
            assert person.save(item, question, labels[0]).json()["saved"] is True
    code = served.store.read("SELECT code FROM annotators WHERE id = 1")[0]["code"]
    assert served.client.get(person.link).headers["location"] == f"{person.link}/done"
    assert code in served.client.get(f"{person.link}/done").text
    assert served.client.get(f"{person.link}/tasks/3").headers["location"] == f"{person.link}/done"


def test_progress_counts_pages(serve: ServedMaker) -> None:
    """Three texts with four questions each: the twelfth answer finishes the first of two pages."""
    person = serve(n_prompts=2).people[0]
    person.agree()
    asked = questions_of(person.open() or "")
    found = [person.save(item, question, labels[0]).json() for item, question, _, labels in asked]
    assert found[:1] + found[10:] == [
        {"saved": True, "answered": 0, "of": 2},
        {"saved": True, "answered": 0, "of": 2},
        {"saved": True, "answered": 1, "of": 2},
    ]


def test_consent_is_needed_and_traits_are_checked(serve: ServedMaker) -> None:
    served = serve()
    person = served.people[0]
    page = served.client.get(f"{person.link}/welcome").text
    fields = {"csrf": csrf_of(page), "age": "older than anybody", "country": "x" * 101}
    refused = served.client.post(f"{person.link}/welcome", data=fields)
    assert refused.status_code == 422
    for words in ("say that you have read this", "Choose one of the answers given", "at most 100 characters"):
        assert words in refused.text
    person.agree(age="25 to 34", gender=" ", country="Österreich")
    traits = served.store.read("SELECT traits FROM annotators WHERE id = 1")[0]["traits"]
    assert json.loads(traits) == {"age": "25 to 34", "country": "Österreich"}


def test_answers_are_shown_again_and_can_be_changed_and_withdrawn(serve: ServedMaker) -> None:
    served = serve(n_prompts=1)
    person = served.people[0]
    person.agree()
    item, question, completion, labels = questions_of(person.open() or "")[0]
    for label in (labels[0], labels[1]):
        person.save(item, question, label)
    assert f'value="{labels[1]}" data-key="2" checked' in person.look(f"{person.link}/tasks/1")
    assert served.given() == {("r1", completion, question): labels[1]}
    assert person.save(item, question, None).status_code == 200
    assert served.given() == {}


def test_the_same_answer_sent_twice_is_one(serve: ServedMaker) -> None:
    """A confirmation that was lost: the browser sends the very same again. Another `sent` is another answer."""
    served = serve()
    person = served.people[0]
    person.agree()
    item, question, _, labels = questions_of(person.open() or "")[0]
    for sent in (1.5, 1.5, 2.5):
        assert person.save(item, question, labels[0], sent=sent).status_code == 200
    assert [row["sent"] for row in served.store.read("SELECT sent FROM history ORDER BY id")] == ["1.5", "2.5"]


def test_a_skipped_page_counts_as_finished_and_its_answers_do_not_count(serve: ServedMaker) -> None:
    served = serve(n_prompts=2)
    person = served.people[0]
    person.agree()
    item, question, completion, labels = questions_of(person.open() or "")[0]
    person.save(item, question, labels[0])
    assert person.skip(1, "  It upsets me ").json() == {"saved": True, "answered": 1, "of": 2}
    assert "It upsets me" in person.look(f"{person.link}/tasks/1")
    assert served.client.get(person.link).headers["location"] == f"{person.link}/tasks/2"
    assert served.given() == {}
    person.save(item, question, labels[1])  # judged after all
    assert served.given() == {("r1", completion, question): labels[1]}
    assert [person.skip(1, reason).status_code for reason in ("", " ", "x" * 1001)] == [422] * 3
    assert person.skip(9, "There is none").status_code == 404


def test_nothing_to_rate_is_said(serve: ServedMaker) -> None:
    served = serve(n_prompts=1, annotators_per_item=1)
    for person in served.people:
        person.agree()
    served.people[0].rate_all()
    page = served.client.get(f"{served.people[1].link}/done")
    assert (page.status_code, "others have rated everything" in page.text) == (200, True)


def test_an_answer_that_cannot_be_written_is_put_off(serve: ServedMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: not confirmed, to be sent again; then it is saved."""
    served = serve()
    person = served.people[0]
    person.agree()
    item, question, completion, labels = questions_of(person.open() or "")[0]

    def refuse(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("accord.rating.app.save_answer", refuse)
        refused = person.save(item, question, labels[0])
    assert (refused.status_code, refused.headers["retry-after"], refused.json()["reason"]) == (503, "2", "not_saved")
    assert person.save(item, question, labels[0]).status_code == 200
    assert served.given() == {("r1", completion, question): labels[0]}


# -- blind ----------------------------------------------------------------------------------------------------------


def test_nothing_that_reaches_an_annotator_names_a_system(serve: ServedMaker) -> None:
    """Names, ids, headers; and items are new for every annotator and page, so that they cannot be compared."""
    served = serve(systems=("zebra", "yak"), n_prompts=2, repeats=1)
    seen = []
    items: list[str] = []
    for person in served.people:
        person.agree()
        for number in (1, 2, 3):
            response = served.client.get(f"{person.link}/tasks/{number}", follow_redirects=True)
            person.csrf = csrf_of(response.text)
            asked = questions_of(response.text)
            items += dict.fromkeys(item for item, _, _, _ in asked)
            seen.append(response.text + str(response.headers))
            seen += [person.save(item, question, labels[0]).text for item, question, _, labels in asked]
    texts = " ".join(seen)
    for completion in ("zebra answers 0 (0)", "yak answers 0 (0)", "zebra answers 1 (0)", "yak answers 1 (0)"):
        assert completion in texts
        texts = texts.replace(completion, "")
    assert "zebra" not in texts
    assert "yak" not in texts
    assert "#" not in "".join(items)
    assert len(items) == len(set(items)) == 2 * 3 * 2


def test_the_order_shown_is_recorded_and_undone(serve: ServedMaker, tmp_path: Path) -> None:
    served = serve(n_prompts=2)
    shown = {}
    for name, person in zip(("r1", "r2"), served.people, strict=True):
        person.agree()
        shown[name] = completions_of(person.open() or "")
    export_study(served.store, tmp_path / "export")
    rows = [json.loads(line) for line in (tmp_path / "export" / "checks.jsonl").read_text().splitlines()]
    completion_of = {row["id"]: row["completion"] for row in _all_texts(served.store)}
    orders = {row["annotator"]: [completion_of[name] for name in row["order"]] for row in rows if row["kind"] == "page"}
    assert orders == shown


def _all_texts(store: Store) -> list[dict[str, str]]:
    rows = store.read(
        "SELECT prompts.name, texts.* FROM texts JOIN sheets ON sheets.id = texts.sheet "
        "JOIN prompts ON prompts.id = sheets.prompt"
    )
    return [
        {"id": f"{row['name']}#{row['system']}#{row['seed']}#{row['sample']}", "completion": row["completion"]}
        for row in rows
    ]


# -- the export -----------------------------------------------------------------------------------------------------


def choose_by(turn: int) -> Callable[[str, str, list[str]], str]:
    """A label that depends on the text, the question and who answers."""
    return lambda completion, question, labels: labels[(len(completion) + len(question) + turn) % len(labels)]


def test_the_export_is_what_was_answered(serve: ServedMaker) -> None:
    served = serve(n_prompts=3)
    typed = {}
    for turn, person in enumerate(served.people):
        person.agree()
        for (completion, question), label in person.rate_all(choose_by(turn)).items():
            typed[f"r{turn + 1}", completion, question] = label
    assert served.given() == typed
    assert len(typed) == 2 * 3 * 3 * 4
    rows = served.exported()
    assert rows[4] | {"annotations": []} == {
        "id": "p1#calibrated#0#0",
        "prompt": [{"role": "user", "content": "prompt 1"}],
        "completion": "calibrated answers 1 (0)",
        "system": "calibrated",
        "seed": 0,
        "sample": 0,
        "prompt_id": "p1",
        "group": "g0",
        "annotations": [],
    }


def test_the_csv_is_the_same_as_a_long_table(serve: ServedMaker) -> None:
    served = serve(n_prompts=2)
    served.people[0].agree()
    served.people[0].rate_all(choose_by(1))
    response = served.client.get(f"{served.admin}/export.csv")
    assert response.headers["content-disposition"] == 'attachment; filename="ratings.csv"'
    rows = list(csv.DictReader(io.StringIO(response.text)))
    found = {(row["annotator"], row["completion"], row["question"]): row["label"] for row in rows}
    assert found == served.given()
    assert {row["prompt"] for row in rows} == {"prompt 0", '[{"role": "user", "content": "prompt 1"}]'}


def test_no_cell_of_the_csv_is_a_formula(tmp_path: Path) -> None:
    """What a model wrote is not run by a spreadsheet: an apostrophe goes before it. JSONL keeps it as it is."""
    completion = '=HYPERLINK("http://elsewhere.example")'
    write_jsonl(tmp_path / "a.jsonl", [Output("@1", "+1", completion, "-a"), Output("2", "1 + 1", "2 = 2", "-a")])
    inputs = StudyInputs([tmp_path / "a.jsonl"])
    store = open_study(tmp_path / "study", inputs, settings=RateSettings(form="acceptable"), seed=0)
    with ExitStack() as stack:
        stack.callback(store.close)
        store.write_now(lambda connection: invite_until(connection, 1))
        served = Served(store, stack.enter_context(open_client(store)))
        served.people[0].agree()
        served.people[0].rate_all(choose_by(1))
        text = served.client.get(f"{served.admin}/export.csv").text
        rows = {row["id"]: row for row in csv.DictReader(io.StringIO(text))}
        exact = served.exported()
    row = rows["'@1#-a#0#0"]
    assert (row["prompt"], row["completion"], row["system"], row["group"]) == ("'+1", f"'{completion}", "'-a", "'@1")
    assert (rows["2#-a#0#0"]["prompt"], rows["2#-a#0#0"]["completion"]) == ("1 + 1", "2 = 2")
    assert (exact[0]["prompt"], exact[0]["completion"], exact[0]["system"]) == ("+1", completion, "-a")


def test_the_folder_holds_everything_beside_the_ratings(serve: ServedMaker, tmp_path: Path) -> None:
    """A repeat and a known answer are no ratings: both are in checks.jsonl alone."""
    path = tmp_path / "known.jsonl"
    known = [
        {"prompt": "How are you?", "completion": "Shut up.", "expected": {"fluency": ["4", "5"], "relevance": "1"}},
    ]
    write_jsonl(path, known)
    served = serve(n_prompts=2, repeats=1, checks=path)
    person = served.people[0]
    person.agree(age="25 to 34")
    turns = iter(range(1000))
    person.rate_all(lambda _completion, _question, labels: labels[next(turns) % len(labels)])
    found = export_study(served.store, tmp_path / "export")
    folder = tmp_path / "export"
    assert sorted(path.name for path in folder.iterdir()) == [
        "annotators.jsonl",
        "checks.jsonl",
        "fluency.json",
        "form.yaml",
        "global_consensus.json",
        "ratings.jsonl",
        "relevance.json",
        "well_formedness.json",
    ]
    assert found == (6, 0, 1, 24)
    assert (folder / "annotators.jsonl").read_text() == '{"annotator":"r1","traits":{"age":"25 to 34"}}\n'
    rows = [json.loads(line) for line in (folder / "checks.jsonl").read_text().splitlines()]
    kinds = [row["kind"] for row in rows]
    assert {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)} == {
        "page": 4,
        "check": 2,
        "repeat": 12,
        "history": 2 * 12 + 4 + 12,
    }
    checks = {
        row["question"]: (row["expected"], row["has_passed"], row["label"]) for row in rows if row["kind"] == "check"
    }
    assert {question: expected for question, (expected, _, _) in checks.items()} == {
        "fluency": ["4", "5"],
        "relevance": ["1"],
    }
    assert all(has_passed == (label in expected) for expected, has_passed, label in checks.values())
    assert "Shut up." not in (folder / "ratings.jsonl").read_text()


def test_prepare_reads_the_export(serve: ServedMaker, tmp_path: Path) -> None:
    from accord.cli.main import main

    served = serve(n_prompts=3)
    for turn, person in enumerate(served.people):
        person.agree()
        person.rate_all(choose_by(turn))
    export = tmp_path / "export"
    export_study(served.store, export)
    for scheme in ("relevance", "global_consensus", "well_formedness"):
        flags = ["--scheme", str(export / f"{scheme}.json"), "--output-dir", str(tmp_path / scheme)]
        assert main(["prepare", str(export / "ratings.jsonl"), *flags]) == 0
        agreement = json.loads((tmp_path / scheme / "agreement.json").read_text())
        assert (agreement["n_items"], agreement["n_annotators"], agreement["n_annotations"]) == (9, 2, 18)


def test_several_draws_of_a_system_are_rated_each(serve: ServedMaker) -> None:
    """Two samples a prompt: a page shows one of each system; r1 meets the first or the second, never both."""
    served = serve(n_prompts=3, samples=2, annotators_per_item=1)
    for person in served.people:
        person.agree()
        person.rate_all()
    rows = served.exported()
    assert len(rows) == 3 * 2 * 3
    met = {(row["annotations"][0]["annotator"], row["prompt_id"], row["sample"]) for row in rows}
    assert len(met) == 6
    assert len({(annotator, prompt) for annotator, prompt, _ in met}) == 6


# -- the admin page -------------------------------------------------------------------------------------------------


def test_admin_sees_progress_flags_agreement_and_disagreement(serve: ServedMaker) -> None:
    """Both choose the same everywhere but on one of nine texts."""
    served = serve(n_prompts=3, annotators=3, min_seconds=1000.0)
    first, second, _ = served.people
    first.agree()
    second.agree()
    first.rate_all(choose_by(0))
    second.rate_all(
        lambda completion, question, labels: choose_by(completion == "human answers 2 (0)")(
            completion, question, labels
        )
    )
    found = served.overview()
    assert found["study"] == {
        "title": "Rules of thumb",
        "state": "open",
        "n_items": 3,
        "n_annotators_per_item": 2,
    }
    flags = {"too_fast": 3, "failed_checks": 0, "n_checks": 0, "self_consistency": None}
    assert found["annotators"][1:] == [
        {"name": "r2", "n_answered": 3, "of": 3, "flags": flags, "state": "finished"},
        {"name": "r3", "n_answered": 0, "of": 0, "flags": {**flags, "too_fast": 0}, "state": "invited"},
    ]
    assert [(item["id"], item["n_ratings"], item["wanted"]) for item in found["items"]] == [
        ("p0", 2, 2),
        ("p1", 2, 2),
        ("p2", 2, 2),
    ]
    assert [item["disagreement"] == 0 for item in found["items"]] == [True, True, False]
    agreement = {row["question"]: row for row in found["agreement"]}
    assert agreement["relevance"]["n"] == 9
    assert 0 < agreement["relevance"]["low"] <= agreement["relevance"]["alpha"] < agreement["relevance"]["high"] <= 1
    assert found["means"] is None


def test_an_open_page_renews_itself_with_numbers_of_a_moment_ago(
    serve: ServedMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking on costs the server little; who opens the page anew sees what is true now."""
    served = serve(n_prompts=3)
    made = []

    def counted(*arguments: Any) -> dict[str, Any]:
        made.append(arguments)
        return overview(*arguments)

    monkeypatch.setattr("accord.rating.admin.overview", counted)
    monkeypatch.setattr("accord.rating.admin.FRESH_SECONDS", 99.0)
    page = served.client.get(served.admin).text
    assert [served.client.get(f"{served.admin}?refresh").text for _ in range(3)] == [page] * 3
    assert len(made) == 1
    served.client.get(served.admin)
    assert len(made) == 2


def test_means_come_only_with_the_end_and_the_end_is_final(serve: ServedMaker) -> None:
    """By hand: one annotator says "5" of everything of human and "1" of the rest; well-formed where human."""
    served = serve(n_prompts=2, systems=("base", "human"))
    person = served.people[0]
    person.agree()
    person.rate_all(lambda completion, _, labels: labels[-1 if completion.startswith("human") else 0])
    page = served.client.get(served.admin).text
    assert "human" not in page
    assert served.overview()["means"] is None
    assert served.act("close").headers["location"] == served.admin
    means = {(row["question"], row["system"]): (row["mean"], row["n"]) for row in served.overview()["means"]}
    assert means["fluency", "human"] == (5.0, 2)
    assert means["fluency", "base"] == (1.0, 2)
    assert means["well_formedness", "human"] == (1.0, 2)
    assert means["well_formedness", "base"] == (0.0, 2)
    assert [served.act(action).status_code for action in ("resume", "pause", "close")] == [410] * 3
    assert served.overview()["study"]["state"] == "closed"


def test_pause_and_resume(serve: ServedMaker) -> None:
    served = serve()
    person = served.people[0]
    person.agree()
    item, question, _, labels = questions_of(person.open() or "")[0]
    served.act("pause")
    refused = person.save(item, question, labels[0])
    assert (refused.status_code, refused.headers["retry-after"], refused.json()["reason"]) == (503, "30", "paused")
    assert "disabled" in person.look(f"{person.link}/tasks/1")
    served.act("resume")
    assert person.save(item, question, labels[0]).status_code == 200


def test_invite_and_revoke(serve: ServedMaker) -> None:
    """A new link works at once; a revoked one at once no more, and what was answered with it stays."""
    served = serve()
    served.act("invite")
    assert len(links(served.store)) == 3
    newest = Person(served.client, links(served.store)[2])
    assert newest.agree().status_code == 303
    item, question, _, labels = questions_of(newest.open() or "")[0]
    newest.save(item, question, labels[0])
    assert served.act("revoke", annotator="r3").status_code == 303
    assert newest.save(item, question, labels[1]).status_code == 410
    assert list(served.given().values()) == [labels[0]]
    assert [served.act("revoke", annotator=name).status_code for name in ("r9", "", "3", "r03", "r²")] == [404] * 5


def test_delete_leaves_nothing_of_an_annotator(serve: ServedMaker) -> None:
    """No row, no byte in the file or its log; the name is not given again."""
    served = serve(n_prompts=2)
    first, second = served.people
    for person, country in ((first, "Atlantis"), (second, "Lemuria")):
        person.agree(country=country)
        person.rate_all()
    number, reason = 1, "because of a secret of mine"
    second.skip(number, reason)
    token = second.link.removeprefix("/a/")
    assert served.act("delete", annotator="r2").status_code == 303
    files = served.store.path.parent.glob("study.sqlite*")
    content = b"".join(path.read_bytes() for path in files)
    for trace in ("Lemuria", reason, token):
        assert trace.encode() not in content
    assert b"Atlantis" in content
    assert served.client.get(second.link).status_code == 404
    for table in ("tasks", "placements", "answers", "history"):
        n_left = served.store.read(f"SELECT count(*) FROM {table}")[0][0]
        assert n_left == {"tasks": 2, "placements": 6, "answers": 24, "history": 24}[table]
    served.act("invite")
    assert [row["name"] for row in served.overview()["annotators"]] == ["r1", "r3"]
