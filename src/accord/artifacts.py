"""A stage's folder: fingerprint, stage.json first, manifest.json last, atomic replacement in between.

A folder is complete if and only if its manifest is there. The fingerprint is a hash of the stage's name and
version, the settings that change results, the seed, and the content hashes of the inputs. Library versions are
recorded in the manifest, not hashed. Results hold no paths and no times: how long a stage's work took stands in
timing.jsonl, whose hash the manifest keeps apart, so that equal work makes a folder of equal content.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from accord.errors import ArtifactError
from accord.files import naming_failed_writes, unreadable
from accord.json_files import read_json_as, write_json
from accord.ranges import check_numbers

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

STAGE_FILE = "stage.json"
MANIFEST_FILE = "manifest.json"
TIMING_FILE = "timing.jsonl"
LOCK_FILE = ".lock"
SCRATCH_DIR = "scratch"
RECORDED_PACKAGES = ("accord", "torch", "transformers", "peft", "numpy", "scipy", "msgspec", "safetensors")

RECENT_NS = 2_000_000_000
"""A file changed so lately may change again without its time showing it."""


class _Manifest(msgspec.Struct):
    """manifest.json as far as it is read back."""

    files: dict[str, str]
    timings: dict[str, str] = {}
    versions: dict[str, str] = {}


class _StageFile(msgspec.Struct):
    """stage.json."""

    stage: str
    version: int
    fingerprint: str
    seed: int
    settings: dict[str, Any]
    inputs: dict[str, str]


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_input(source: Path | str) -> str:
    """Content hash of an input: a finished stage folder, a model folder, a file, or a name (Hub id, builtin:NAME).

    A stage folder hashes to the hashes in its manifest, which are checked, those of timings left out; any other folder
    to those of its files.
    A string that is not an existing path (a Hub id, `builtin:minilm`) stands for itself.

    Raises:
        ArtifactError: a stage folder that is unfinished or was changed; a path that leads to no file and no folder.
    """
    path = Path(source)
    if path.is_dir():
        if (path / MANIFEST_FILE).is_file() or (path / STAGE_FILE).is_file():
            return _hash_json(read_manifest(require_complete(path)))
        return _hash_json({str(p.relative_to(path)): _content_hash(p) for p in sorted(path.rglob("*")) if p.is_file()})
    if isinstance(source, str) and not os.path.lexists(path):
        return f"name:{source}"
    reason = unreadable(path)
    if reason is not None:
        raise ArtifactError(f"{source} {reason}. Expected a file or a folder.")
    return _content_hash(path)


def settings_dict(settings: Any) -> dict[str, Any]:
    """The settings as plain JSON values, so that they can be hashed, saved and compared key by key."""
    raw = asdict(settings) if is_dataclass(settings) and not isinstance(settings, type) else dict(settings)
    plain: dict[str, Any] = json.loads(json.dumps(raw, default=str, sort_keys=True))
    return plain


def fingerprint(stage: str, version: int, *, settings: Any, seed: int, inputs: Mapping[str, str]) -> str:
    """Sixteen hex digits that change if and only if the stage's results may change."""
    return _hash_json(
        {
            "stage": stage,
            "version": version,
            "settings": settings_dict(settings),
            "seed": seed,
            "inputs": dict(inputs),
        }
    )[:16]


class Stage:
    """A stage's open folder. Write files under `folder`, then call `finish()`; nothing counts before that."""

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        self.folder = folder
        self.description = description

    @property
    def fingerprint(self) -> str:
        return str(self.description["fingerprint"])

    @property
    def is_complete(self) -> bool:
        return (self.folder / MANIFEST_FILE).is_file()

    def path(self, name: str) -> Path:
        return self.folder / name

    def finish(self) -> None:
        """Write manifest.json (SHA-256 of files and of timings, versions) last, atomically; then remove `scratch/`."""
        files = {
            p.relative_to(self.folder).as_posix(): sha256_file(p)
            for p in sorted(self.folder.rglob("*"))
            if p.is_file() and _is_result(p.relative_to(self.folder))
        }
        timings = {name: files.pop(name) for name in (TIMING_FILE,) if name in files}
        write_json(self.folder / MANIFEST_FILE, {"files": files, "timings": timings, "versions": library_versions()})
        _tidy(self.folder)

    def abandon(self) -> None:
        """Take back a folder in which nothing was written, so that a mended input can use it."""
        (self.folder / LOCK_FILE).unlink(missing_ok=True)
        if [path.name for path in self.folder.iterdir()] == [STAGE_FILE]:
            self.path(STAGE_FILE).unlink()
            self.folder.rmdir()

    @property
    def scratch_dir(self) -> Path:
        """For checkpoints and half-written rows: kept while the stage is unfinished, removed by `finish`."""
        folder = self.folder / SCRATCH_DIR
        with naming_failed_writes(folder):
            folder.mkdir(exist_ok=True)
        return folder


def open_stage(
    output_dir: Path, *, stage: str, version: int, settings: Any, seed: int, inputs: Mapping[str, Path | str]
) -> Stage:
    """Open a stage's folder for writing, for resuming, or (when `is_complete`) for reuse.

    Args:
        output_dir: the stage's own folder; made when missing. "{fingerprint}" in it is replaced, so that
            `runs/fit/{fingerprint}` keeps one folder for every variant; use the returned stage's `folder`.
        stage, version: the stage's name and the integer that its author raises when its results change.
        settings: a dataclass or mapping; only settings that change results. One that is also an input (`model`)
            counts by its content: a path is neither hashed nor recorded, a name is recorded.
        inputs: role -> file, folder or model name; hashed by content (`hash_input`).

    Raises:
        ArtifactError: the folder belongs to other settings, seed, data or version (names the keys that differ),
            holds foreign files, is complete but damaged, cannot be written to, or another process writes to it.
        ConfigError: a setting is a number that it cannot be (`check_numbers`).
    """
    check_numbers(settings)
    hashes = {role: hash_input(source) for role, source in inputs.items()}
    plain = settings_dict(settings)
    counting = {key: value for key, value in plain.items() if key not in inputs}
    description = {
        "stage": stage,
        "version": version,
        "fingerprint": fingerprint(stage, version, settings=counting, seed=seed, inputs=hashes),
        "seed": seed,
        "settings": {key: value for key, value in plain.items() if key in counting or not Path(str(value)).exists()},
        "inputs": hashes,
    }
    output_dir = Path(str(output_dir).replace("{fingerprint}", str(description["fingerprint"])))
    opened = Stage(output_dir, description)
    if opened.is_complete:
        _require_same(output_dir, description)
        verify_manifest(output_dir)
        _tidy(output_dir)
    else:
        _begin(output_dir, description)
    return opened


def require_complete(folder: Path, stage: str | None = None) -> Path:
    """`folder`, after checking that it is a finished and unchanged folder of `stage` (any stage when None).

    Raises:
        ArtifactError: it is not; names what is missing, damaged or changed.
    """
    if not folder.is_dir():
        state = "is a file" if folder.is_file() else "does not exist"
        raise ArtifactError(f"{folder} {state}. Expected a finished {stage or 'stage'} folder.")
    if not (folder / STAGE_FILE).is_file():
        raise ArtifactError(
            f"{folder} is no stage's folder, or is unfinished (no {STAGE_FILE}). Expected a finished "
            f"{stage or 'stage'} folder; name another, or run `accord {stage or '...'}` again."
        )
    found = str(read_stage(folder)["stage"])
    if stage is not None and found != stage:
        raise ArtifactError(f"{folder} is a {found!r} folder; expected a {stage!r} folder.")
    if not (folder / MANIFEST_FILE).is_file():
        raise ArtifactError(f"{folder} is unfinished (no {MANIFEST_FILE}). Run `accord {found}` again to complete it.")
    verify_manifest(folder)
    return folder


def read_stage(folder: Path) -> dict[str, Any]:
    """What stage.json says: stage, version, fingerprint, seed, settings, inputs.

    Raises:
        ArtifactError: missing or damaged.
    """
    return dict(msgspec.to_builtins(read_json_as(folder / STAGE_FILE, _StageFile)))


def read_manifest(folder: Path) -> dict[str, str]:
    """The files of a finished folder and their SHA-256, without timings.

    Raises:
        ArtifactError: manifest.json is missing or damaged.
    """
    return _manifest_of(folder).files


def _manifest_of(folder: Path) -> _Manifest:
    found: _Manifest = read_json_as(folder / MANIFEST_FILE, _Manifest)
    return found


def verify_manifest(folder: Path) -> None:
    """Check every file of a finished folder against its SHA-256.

    Raises:
        ArtifactError: a file is missing or changed; names the first one.
    """
    reason = damage(folder)
    if reason is not None:
        raise ArtifactError(f"{reason}. Restore it, or delete {folder} and run the stage again.")


def damage(folder: Path) -> str | None:
    """The first file that is missing or is not as manifest.json says, as a clause; None where all are whole.

    Raises:
        ArtifactError: manifest.json is missing or damaged.
    """
    manifest = _manifest_of(folder)
    for name, expected in (manifest.files | manifest.timings).items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing (see {MANIFEST_FILE})"
        if _content_hash(path) != expected:
            return f"{path} is changed since it was written (see {MANIFEST_FILE})"
    return None


def library_versions() -> dict[str, str]:
    """Versions of Python and the packages that can move a result; absent packages are left out."""
    versions = {"python": platform.python_version()}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _hash_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _content_hash(path: Path) -> str:
    """SHA-256 of a file; within one process a file that stays as it is, is read once."""
    state = path.stat()
    if time.time_ns() - state.st_mtime_ns < RECENT_NS:
        return sha256_file(path)
    return _hash_as_of(path.absolute(), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=10_000)
def _hash_as_of(path: Path, size: int, mtime_ns: int) -> str:  # noqa: ARG001 -- what tells one state from another
    return sha256_file(path)


def _begin(folder: Path, description: Mapping[str, Any]) -> None:
    """Make an unfinished folder ours: new, begun with the same settings, or with nothing in it yet.

    Raises:
        ArtifactError: see `open_stage`.
    """
    stage_path = folder / STAGE_FILE
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(f"{folder} is a file. Choose another --output-dir.")
    if folder.is_dir() and not stage_path.is_file() and any(not _is_leftover(path) for path in folder.iterdir()):
        raise ArtifactError(f"{folder} is not empty and has no {STAGE_FILE}. Choose an empty or new --output-dir.")
    with naming_failed_writes(folder, *folder.parents):
        folder.mkdir(parents=True, exist_ok=True)
    lock_folder(folder)
    results = (path for path in folder.rglob("*") if path.is_file() and path != stage_path and not _is_leftover(path))
    if any(results):
        _require_same(folder, description)
    else:
        write_json(stage_path, description)
    for path in folder.rglob("*.tmp"):
        if _is_leftover(path):
            path.unlink(missing_ok=True)


def _require_same(folder: Path, description: Mapping[str, Any]) -> None:
    found = read_stage(folder)
    if found["fingerprint"] != description["fingerprint"]:
        keys = ", ".join(_differing_keys(found, description)) or "fingerprint"
        raise ArtifactError(
            f"{folder} was made with other settings; these differ: {keys}. "
            "Choose another --output-dir, or delete that folder to redo it."
        )


def _tidy(folder: Path) -> None:
    """Remove from a finished folder what served to make it."""
    shutil.rmtree(folder / SCRATCH_DIR, ignore_errors=True)
    with suppress(OSError):
        (folder / LOCK_FILE).unlink(missing_ok=True)


def _is_result(name: Path) -> bool:
    return name.parts[0] != SCRATCH_DIR and name.as_posix() not in (STAGE_FILE, MANIFEST_FILE, LOCK_FILE)


def _is_leftover(path: Path) -> bool:
    """Whether a process that was killed left `path` behind: its lock, or a file it was still writing (`replacing`)."""
    return path.name == LOCK_FILE or (path.name.startswith(".") and path.name.endswith(".tmp"))


def lock_folder(folder: Path) -> None:
    """Keep other processes from writing to `folder` until this one finishes its stage, ends, or is killed.

    Raises:
        ArtifactError: another process is at work there.
    """
    if fcntl is None:
        return
    lock_path = folder / LOCK_FILE
    with naming_failed_writes(lock_path):
        handle = os.open(lock_path, os.O_CREAT | os.O_RDWR)  # stays open: the lock lives as long as the process
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise ArtifactError(
            f"another process is writing to {folder}. Wait until it has finished, or stop it and run this again."
        ) from None


def _differing_keys(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    keys = [
        f"{key} ({found.get(key)!r} there, {wanted[key]!r} now)"
        for key in ("stage", "version", "seed")
        if found.get(key) != wanted[key]
    ]
    if found.get("stage") != wanted["stage"]:
        return keys[:1]  # two stages have no settings in common
    for section in ("settings", "inputs"):
        old, new = found.get(section, {}), wanted[section]
        for key in sorted(set(old) | set(new)):
            if old.get(key) != new.get(key):
                shown = f" ({old.get(key)!r} there, {new.get(key)!r} now)" if section == "settings" else " (content)"
                keys.append(f"{section}.{key}{shown}")
    return keys
