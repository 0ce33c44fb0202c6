"""The program: help, spellings, settings files, errors, exit codes (src/accord/cli/main.py)."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from accord.cli import main as program
from accord.cli.main import VERBS, build_app, main
from accord.errors import DataError

HEAVY = ("torch", "transformers", "numpy", "scipy", "peft", "matplotlib")


def parse(*tokens: str) -> dict[str, Any]:
    """The arguments a verb would be called with."""
    _, bound, _ = build_app().parse_args(list(tokens), exit_on_error=False, print_error=False)
    return dict(bound.arguments)


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_imports_nothing_heavy_and_is_quick(verb: str) -> None:
    """Processor time, best of three, because the wall clock belongs to whatever else runs."""
    script = (
        "import sys; from accord.cli.main import main; code = main(sys.argv[1:]); "
        f"heavy = [name for name in {HEAVY} if name in sys.modules]; sys.exit(code or ', '.join(heavy) or 0)"
    )
    times = []
    for _ in range(3):
        before = os.times()
        done = subprocess.run(
            [sys.executable, "-c", script, *([verb] if verb else []), "--help"],
            capture_output=True,
            text=True,
            check=False,
        )
        after = os.times()
        assert done.returncode == 0, done.stderr
        assert "Usage: accord" in done.stdout
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
        if min(times) < 0.5:
            break
    assert min(times) < 0.5


@pytest.mark.parametrize("flag", ["--max-prompt-tokens", "--max_prompt_tokens"])
def test_both_spellings_parse(flag: str) -> None:
    arguments = parse("calibrate", "scored", "--output-dir", "out", flag, "7")
    assert arguments["settings"].max_prompt_tokens == 7


def test_settings_keep_their_defaults_and_common_flags_are_read() -> None:
    arguments = parse("calibrate", "scored", "--output_dir", "out", "--seed", "3", "--json")
    assert arguments["candidates"] == Path("scored")
    assert arguments.get("settings") is None or arguments["settings"].batch_size == 8
    assert (arguments["common"].output_dir, arguments["common"].seed, arguments["common"].json) == (
        Path("out"),
        3,
        True,
    )


def test_config_file_fills_what_the_command_line_leaves_out(tmp_path: Path) -> None:
    """batch_size: file 4, flag 2 -> 2; the required flag and the argument may stand in the file too."""
    path = tmp_path / "calibrate.yaml"
    path.write_text(
        "candidates: scored\noutput-dir: out\nbatch_size: 4\nlearning-rate: 1e-3\npatience: null\n", encoding="utf-8"
    )
    arguments = parse("calibrate", "--config", str(path), "--batch-size", "2")
    settings, common = arguments["settings"], arguments["common"]
    assert (settings.batch_size, settings.learning_rate, settings.patience) == (2, 1e-3, None)
    assert (arguments["candidates"], common.output_dir) == (Path("scored"), Path("out"))


def test_a_file_of_a_whole_run_gives_each_verb_its_section(tmp_path: Path) -> None:
    """The run's seed goes with it, unless the section has its own; other sections are not looked at."""
    path = tmp_path / "run.yaml"
    path.write_text(
        "source: x\nseed: 5\nfit: {no such: key}\ncalibrate: {batch-size: 4, seed: 6}\ndecode: {top_k: 3}\n"
    )
    common = ["x", "--output-dir", "out", "--config", str(path)]
    calibrate, decode = parse("calibrate", *common), parse("decode", *common, "--system", "base")
    assert (calibrate["settings"].batch_size, calibrate["common"].seed) == (4, 6)
    assert (decode["settings"].top_k, decode["common"].seed) == (3, 5)


def test_config_file_with_an_unknown_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "calibrate.yaml"
    path.write_text("batch_sise: 4\n", encoding="utf-8")
    assert main(["calibrate", "scored", "--output-dir", "out", "--config", str(path)]) == 2
    assert capsys.readouterr().err == f'accord: {path}: unknown key "batch_sise". Did you mean "batch_size"?\n'


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["calibrate", "x", "--output-dir", "o", "--batch-sise", "4"], "Unknown option: --batch-sise. Did you mean"),
        (["calibrate", "x", "--output-dir", "o", "--batch-size", "many"], 'unable to convert "many" into int'),
        (["calibrate", "x", "--output-dir", "o", "--margin-by", "rnk"], 'Did you mean "rank"?'),
        (["calibrate", "x"], "--output-dir requires an argument. See `accord calibrate --help`."),
        (["calibrat"], 'Unknown command "calibrat". Did you mean "calibrate"?'),
        (["describe", "absent"], "absent does not exist. Expected a finished prepare folder."),
        (["describe", "x", "--config", "absent.yaml"], "Cannot read absent.yaml: No such file or directory."),
        (["report", "--output-dir", "o", "--calibration", "x"], '--calibration "x" is not NAME=FOLDER.'),
    ],
)
def test_what_a_user_can_cause_takes_one_line(
    tokens: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(tokens) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("accord: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert captured.out == ""


class _Raises:
    """Stands where the program stands; calling it raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, *_: Any, **__: Any) -> None:
        raise self.error


def test_a_list_of_bad_rows_keeps_its_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "build_app", lambda: _Raises(DataError("a.csv: 2 bad rows\n  line 3: no label")))
    assert main([]) == 2
    assert capsys.readouterr().err == "accord: a.csv: 2 bad rows\n  line 3: no label\n"


def test_interrupt_exits_130_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "build_app", lambda: _Raises(KeyboardInterrupt()))
    assert main([]) == 130
    assert capsys.readouterr().err == (
        "accord: interrupted. What is finished is kept; the same command goes on from there.\n"
    )


def test_our_own_bugs_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "build_app", lambda: _Raises(ZeroDivisionError("ours")))
    with pytest.raises(ZeroDivisionError, match="ours"):
        main([])


def test_openmp_waits_passively_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    main(["--version"])
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    main(["--version"])
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
