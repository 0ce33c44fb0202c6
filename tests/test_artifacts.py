"""A folder is complete if and only if its manifest is there, and refuses what it was not made from."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from accord.artifacts import fingerprint, hash_input, open_stage, read_stage, require_complete
from accord.errors import ArtifactError, DataError
from accord.json_files import read_jsonl, write_json, write_jsonl
from accord.records import Annotation, Item


def _open(folder: Path, source: Path, *, rate: float = 0.1, seed: int = 0):  # type: ignore[no-untyped-def]
    return open_stage(
        folder, stage="fit", version=1, settings={"rate": rate}, seed=seed, inputs={"items": source, "model": "hub/x"}
    )


def test_a_stage_is_complete_only_with_its_manifest(tmp_path: Path) -> None:
    source = tmp_path / "items.jsonl"
    source.write_text("{}\n")
    stage = _open(tmp_path / "fit", source)
    stage.path("rows.jsonl").write_text("1\n")
    (stage.scratch_dir / "half.jsonl").write_text("x")
    assert not stage.is_complete
    with pytest.raises(ArtifactError, match="unfinished"):
        require_complete(tmp_path / "fit", "fit")
    with pytest.raises(ArtifactError, match="unfinished"):
        hash_input(tmp_path / "fit")
    stage.finish()
    assert _open(tmp_path / "fit", source).is_complete
    assert not (tmp_path / "fit" / "scratch").exists()
    with pytest.raises(ArtifactError, match="'fit' folder; expected a 'score' folder"):
        require_complete(tmp_path / "fit", "score")


def test_a_foreign_folder_is_refused_and_the_differing_key_named(tmp_path: Path) -> None:
    source = tmp_path / "items.jsonl"
    source.write_text("{}\n")
    _open(tmp_path / "fit", source).finish()
    with pytest.raises(ArtifactError, match=r"settings\.rate \(0\.1 there, 0\.2 now\)"):
        _open(tmp_path / "fit", source, rate=0.2)
    with pytest.raises(ArtifactError, match=r"seed \(0 there, 3 now\)"):
        _open(tmp_path / "fit", source, seed=3)
    source.write_text("{}\n{}\n")
    with pytest.raises(ArtifactError, match=r"inputs\.items \(content\)"):
        _open(tmp_path / "fit", source)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="not empty"):
        _open(tmp_path / "other", source)


def test_a_changed_or_missing_result_is_noticed(tmp_path: Path) -> None:
    source = tmp_path / "items.jsonl"
    source.write_text("{}\n")
    stage = _open(tmp_path / "fit", source)
    stage.path("rows.jsonl").write_text("1\n")
    stage.finish()
    stage.path("rows.jsonl").write_text("2\n")
    with pytest.raises(ArtifactError, match=r"rows\.jsonl is changed"):
        _open(tmp_path / "fit", source)
    stage.path("rows.jsonl").unlink()
    with pytest.raises(ArtifactError, match=r"rows\.jsonl is missing"):
        _open(tmp_path / "fit", source)


def test_timings_are_no_content_but_may_not_be_changed(tmp_path: Path) -> None:
    """Two folders that differ in seconds alone are the same input; what differs in anything else is another."""

    def made(name: str, *, row: str, seconds: str) -> Path:
        stage = open_stage(tmp_path / name, stage="fit", version=1, settings={}, seed=0, inputs={})
        stage.path("rows.jsonl").write_text(row)
        stage.path("timing.jsonl").write_text(seconds)
        stage.finish()
        return stage.folder

    slow, fast = made("slow", row="1\n", seconds="9\n"), made("fast", row="1\n", seconds="3\n")
    assert hash_input(slow) == hash_input(fast) != hash_input(made("other", row="2\n", seconds="3\n"))
    (slow / "timing.jsonl").write_text("1\n")
    with pytest.raises(ArtifactError, match=r"timing\.jsonl is changed"):
        require_complete(slow)
    (slow / "timing.jsonl").unlink()
    with pytest.raises(ArtifactError, match=r"timing\.jsonl is missing"):
        hash_input(slow)


def test_the_fingerprint_ignores_key_order_and_sees_every_part() -> None:
    base = fingerprint("fit", 1, settings={"a": 1, "b": (2, 3)}, seed=0, inputs={"items": "x"})
    assert base == fingerprint("fit", 1, settings={"b": [2, 3], "a": 1}, seed=0, inputs={"items": "x"})
    others = [
        fingerprint("score", 1, settings={"a": 1, "b": (2, 3)}, seed=0, inputs={"items": "x"}),
        fingerprint("fit", 2, settings={"a": 1, "b": (2, 3)}, seed=0, inputs={"items": "x"}),
        fingerprint("fit", 1, settings={"a": 1, "b": (2, 4)}, seed=0, inputs={"items": "x"}),
        fingerprint("fit", 1, settings={"a": 1, "b": (2, 3)}, seed=1, inputs={"items": "x"}),
        fingerprint("fit", 1, settings={"a": 1, "b": (2, 3)}, seed=0, inputs={"items": "y"}),
    ]
    assert len({base, *others}) == 6


def test_records_survive_the_file_and_a_bad_line_is_named(tmp_path: Path) -> None:
    items = [Item("1", "hé?", "yes", annotations=(Annotation("a", "ok"),)), Item("2", "p", "c", votes={"ok": 2})]
    path = tmp_path / "items.jsonl"
    assert write_jsonl(path, items) == 2
    assert list(read_jsonl(path, Item)) == items
    path.write_bytes(path.read_bytes() + b'{"id": 3}\n')
    with pytest.raises(DataError, match=r"items\.jsonl line 3: Expected `str`, got `int`"):
        list(read_jsonl(path, Item))
    with pytest.raises(DataError, match="does not exist"):
        list(read_jsonl(tmp_path / "none.jsonl", Item))


def test_nan_is_written_as_null(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"value": float("nan")})
    assert (tmp_path / "x.json").read_text() == '{\n  "value": null\n}\n'


def test_a_fingerprinted_folder_is_made_for_every_variant(tmp_path: Path) -> None:
    source = tmp_path / "items.jsonl"
    source.write_text("{}\n")
    first = _open(tmp_path / "fit" / "{fingerprint}", source)
    second = _open(tmp_path / "fit" / "{fingerprint}", source, rate=0.2)
    assert first.folder.name == first.fingerprint
    assert {path.name for path in (tmp_path / "fit").iterdir()} == {first.fingerprint, second.fingerprint}


def test_two_processes_do_not_write_to_one_folder(tmp_path: Path) -> None:
    source = tmp_path / "items.jsonl"
    source.write_text("{}\n")
    stage = _open(tmp_path / "fit", source)
    code = f"""
from pathlib import Path
from accord.artifacts import open_stage
inputs = {{"items": Path({str(source)!r}), "model": "hub/x"}}
open_stage(Path({str(tmp_path / "fit")!r}), stage="fit", version=1, settings={{"rate": 0.1}}, seed=0, inputs=inputs)
"""
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another process is writing to" in other.stderr
    stage.finish()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert not (tmp_path / "fit" / ".lock").exists()


def test_a_model_counts_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    def opened(model: str) -> dict[str, object]:
        stage = open_stage(
            tmp_path / "out" / "{fingerprint}",
            stage="fit",
            version=1,
            settings={"model": model, "rate": 0.1},
            seed=0,
            inputs={"model": model},
        )
        return stage.description

    for name, text in {"here": "a", "there": "a", "other": "b"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    here, there, other = (opened(str(tmp_path / name)) for name in ("here", "there", "other"))
    assert here == there
    assert here["settings"] == {"rate": 0.1}
    assert other["fingerprint"] != here["fingerprint"]
    assert opened("hub/x")["settings"] == {"model": "hub/x", "rate": 0.1}


def test_killed_while_writing_any_file_a_stage_ends_with_the_same_files(tmp_path: Path) -> None:
    source = tmp_path / "items.jsonl"
    source.write_text("{}\n")
    code = """
import os, signal, sys
from pathlib import Path
from accord.artifacts import open_stage
from accord.json_files import write_json
folder, source, fatal = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
calls = 0
def fsync_or_die(handle, fsync=os.fsync):
    global calls
    calls += 1
    if calls == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)
os.fsync = fsync_or_die
stage = open_stage(folder, stage="fit", version=1, settings={}, seed=0, inputs={"items": source})
write_json(stage.path("results.json"), {"value": 1})
write_json(stage.path("model/config.json"), {"layers": 2})
stage.finish()
"""

    def run(folder: Path, fatal: int) -> int:
        return subprocess.run([sys.executable, "-c", code, folder, source, str(fatal)], check=False).returncode

    assert run(tmp_path / "whole", 0) == 0
    for fatal in (1, 2, 3, 4):
        torn = tmp_path / f"torn-{fatal}"
        assert run(torn, fatal) == -signal.SIGKILL
        assert list(torn.rglob("*.tmp")), "the kill must leave a half-written file"
        assert run(torn, 0) == 0
        assert hash_input(torn) == hash_input(tmp_path / "whole")
        assert not list(torn.rglob("*.tmp"))


def test_a_folder_in_which_nothing_was_written_yet_takes_mended_inputs(tmp_path: Path) -> None:
    source = tmp_path / "items.jsonl"
    source.write_text("{}\n")
    _open(tmp_path / "fit", source)
    source.write_text("{}\n{}\n")
    stage = _open(tmp_path / "fit", source, rate=0.2)
    assert read_stage(tmp_path / "fit")["settings"] == {"rate": 0.2}
    (stage.scratch_dir / "rows.jsonl").write_text("1\n")
    with pytest.raises(ArtifactError, match=r"these differ: settings\.rate \(0\.2 there, 0\.3 now\)"):
        _open(tmp_path / "fit", source, rate=0.3)
    assert read_stage(tmp_path / "fit")["settings"] == {"rate": 0.2}


def test_an_input_folder_that_was_changed_is_refused(tmp_path: Path) -> None:
    """A hand-edited candidates.jsonl must not count as the one in the manifest."""
    source = tmp_path / "items.jsonl"
    source.write_text("{}\n")
    stage = _open(tmp_path / "fit", source)
    stage.path("rows.jsonl").write_text("1\n")
    stage.finish()
    before = hash_input(tmp_path / "fit")
    (tmp_path / "fit" / "notes.txt").write_text("not a result")
    assert hash_input(tmp_path / "fit") == before
    stage.path("rows.jsonl").write_text("2\n")
    for use in (hash_input, require_complete):
        with pytest.raises(ArtifactError, match=r"rows\.jsonl is changed since it was written"):
            use(tmp_path / "fit")


@pytest.mark.parametrize("name", ["stage.json", "manifest.json"])
@pytest.mark.parametrize("content", [b"", b"[1]", b"{}", b'{"files": [1], "stage": 2}', b"\xff{", b"[" * 100_000, None])
def test_a_damaged_stage_file_or_manifest_is_one_error(tmp_path: Path, name: str, content: bytes | None) -> None:
    source = tmp_path / "items.jsonl"
    source.write_text("{}\n")
    stage = _open(tmp_path / "fit", source)
    stage.path("rows.jsonl").write_text("1\n")
    stage.finish()
    path = tmp_path / "fit" / name
    path.unlink() if content is None else path.write_bytes(content)
    for use in (hash_input, require_complete, lambda folder: _open(folder, source, rate=0.2)):
        with pytest.raises(ArtifactError) as caught:
            use(tmp_path / "fit")
        assert "\n" not in str(caught.value)


def test_scratch_stays_until_the_manifest_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "items.jsonl"
    source.write_text("{}\n")
    stage = _open(tmp_path / "fit", source)
    (stage.scratch_dir / "rows.jsonl").write_text("1\n")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(ArtifactError, match=r"manifest\.json could not be written: No space left on device"):
            stage.finish()
    assert (tmp_path / "fit" / "scratch" / "rows.jsonl").is_file()
    stage.finish()
    assert {path.name for path in (tmp_path / "fit").iterdir()} == {"stage.json", "manifest.json"}


def test_lines_with_a_byte_order_mark_read_and_other_encodings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    line = b'{"id": "1", "prompt": "p", "completion": "c"}'
    path.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n")
    assert [item.id for item in read_jsonl(path, Item)] == ["1"]
    for content, message in {
        line.replace(b"c", b"\xe9", 1): r"line 1: byte \d+ \(e9\) is not UTF-8; the file is probably Latin-1",
        line.replace(b'"p"', b'"\0"'): r"line 1: byte 24 is NUL",
        b'{"x": ' + b"[" * 100_000: "line 1: nested too deep",
    }.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            list(read_jsonl(path, Item))
