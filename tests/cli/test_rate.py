"""`accord rate` up to the moment it serves, and its export (src/accord/cli/rate.py)."""

import json
import socket
import sys
from pathlib import Path

import pytest

from accord.cli.main import main
from rating_clients import Person, links, make_study, open_client, outputs_file


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "study/study.sqlite does not exist. Name the outputs that are to be rated, or the --study to go on with."),
        (["--export", "study"], "--export STUDY and --output-dir FOLDER belong together. Give both or neither."),
        (["--export", "absent", "--output-dir", "o"], "absent does not exist. Expected the study.sqlite of a study."),
        (["base.jsonl", "--form", "nice"], "Form 'nice' is neither a file nor one of"),
        (["base.jsonl", "--annotators-per-item", "0"], "annotators_per_item is 0. Expected a number from 1 to"),
        (["base.jsonl", "--annotators", "-3"], "annotators is -3. Expected a number from 0 to"),
        (["base.jsonl", "--port", "70000"], "port is 70000. Expected a number from 0 to 65,535."),
        (["base.jsonl", "--host", "0.0.0.0"], '--host "0.0.0.0" listens on every address, so say by which one'),
        (["base.jsonl", "--public-url", "rate.example"], '--public-url "rate.example" is not an address like'),
        (["base.jsonl", "--host", "203.0.113.7"], "Cannot listen on 203.0.113.7 port 8765: "),
    ],
)
def test_what_cannot_be_served_takes_one_line(
    flags: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    outputs_file(tmp_path / "base.jsonl", "base")
    assert main(["rate", *flags]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"accord: {message}")
    assert (captured.err.count("\n"), captured.out) == (1, "")


def test_a_port_that_is_taken_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = outputs_file(tmp_path / "base.jsonl", "base")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["rate", str(outputs), "--study", str(tmp_path / "study"), "--port", str(port)]) == 2
    assert f"Cannot listen on 127.0.0.1 port {port}: " in capsys.readouterr().err


def test_without_the_extra_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["rate", "base.jsonl"]) == 2
    assert capsys.readouterr().err == "accord: accord rate needs uvicorn: pip install 'accord[web]'\n"


def test_an_export_without_ratings_names_no_next_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_study(tmp_path, n_prompts=2).close()
    assert main(["rate", "--export", str(tmp_path / "study"), "--output-dir", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  0 ratings of 0 texts by 0 annotators; 6 texts have no ratings and are left out"
    ]


def test_export_writes_the_folder_and_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By hand: one of two annotators rates one of two prompts: 3 texts with 4 questions each."""
    store = make_study(tmp_path, n_prompts=2, tasks_per_annotator=1)
    with open_client(store) as client:
        person = Person(client, links(store)[0])
        person.agree()
        person.rate_all()
    store.close()
    command = ["rate", "--export", str(tmp_path / "study"), "--output-dir", str(tmp_path / "out")]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "  12 ratings of 3 texts by 1 annotators; 3 texts have no ratings and are left out"
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "output_dir": str(tmp_path / "out"),
        "n_rated": 3,
        "n_unrated": 3,
        "n_annotators": 1,
        "n_ratings": 12,
    }
