"""docs/data.md: its files are files, its commands run, its Python holds."""

import io
import re
import shlex
from pathlib import Path

import pytest

from accord.cli.main import main
from accord.data.schemes import SCHEMES, load_scheme

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
FILES = re.findall(r"^`([\w.]+)`:\n\n```(?:json|csv)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL) for line in block.splitlines()]
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in FILES:
        Path(name).write_text(content, encoding="utf-8")
    assert len(FILES) == 8
    assert load_scheme("warmth.json").acceptable == ("neutral", "warm")
    for command in COMMANDS:
        assert main(shlex.split(command)[1:]) == 0, capsys.readouterr().err
    assert len(COMMANDS) == 6
    for code in PYTHON:
        exec(code, {})


def test_every_shipped_scheme_is_listed() -> None:
    assert all(f"| `{name}` |" in PAGE for name in SCHEMES)


def test_a_dash_is_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = dict(FILES)["items.jsonl"].encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    flags = ["--scheme", "yes-no", "--resplit", "--n-resamples", "10", "--output-dir", str(tmp_path / "piped")]
    assert main(["prepare", "-", *flags]) == 0
