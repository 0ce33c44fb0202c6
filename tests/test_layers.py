"""Imports go one way only, and help stays fast: read from the source, so that lazy imports count too."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "accord"
LAYERS = [
    {"records", "errors", "files", "ranges", "json_files", "artifacts", "randomness", "resumable", "progress"},
    {"config", "pretrained", "statistics", "training"},
    {"data"},
    {"preference"},
    {"scoring"},
    {"candidates"},
    {"calibration"},
    {"evaluation"},
    {"recovery"},
    {"report"},
    {"rating"},
    {"pipeline"},
    {"demo"},
    {"sweep"},
    {"cli"},
]
"""Left to right; a room imports only from rooms to its left. Rooms of the first two layers may share."""
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
MODULES = sorted(PACKAGE.rglob("*.py"))
SETTINGS = [path for path in MODULES if path.name == "settings.py"]


def room_of(path: Path) -> str:
    """The room a source file belongs to: `data/labels.py` -> `data`, `config.py` -> `config`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> Iterator[tuple[str, int]]:
    """Every module a file imports, at the top or inside a function, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} line {node.lineno}: write the whole module name"
            yield node.module or "", node.lineno
            if node.module == "accord":
                yield from ((f"accord.{alias.name}", node.lineno) for alias in node.names)


def test_every_room_has_its_place() -> None:
    rooms = {room_of(path) for path in MODULES} - {"__init__"}
    assert rooms - set(LEVEL) == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        pytest.skip("the public names: resolved lazily, from every room")
    for module, line in imported_modules(path):
        parts = module.split(".")
        if parts[0] == "accord" and len(parts) > 1 and parts[1] != room:
            assert parts[1] in LEVEL, f"line {line}: {module} has no place in LAYERS"
            assert LEVEL[parts[1]] < LEVEL[room] or LEVEL[room] == LEVEL[parts[1]] < 2, f"line {line}: {module}"


def test_room_init_files_are_empty() -> None:
    filled = [path for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE and path.stat().st_size]
    assert filled == []


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.parent.name)
def test_settings_import_the_standard_library_and_other_settings_only(path: Path) -> None:
    for module, line in imported_modules(path):
        is_settings = re.fullmatch(r"accord\.\w+\.settings", module) is not None
        assert is_settings or module.partition(".")[0] in sys.stdlib_module_names, f"line {line}: {module}"


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.parent.name)
def test_every_setting_has_its_line_of_help(path: Path) -> None:
    """A string literal right under each field."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            fields = [index for index, child in enumerate(node.body) if isinstance(child, ast.AnnAssign)]
            for index in fields:
                follower = node.body[index + 1] if index + 1 < len(node.body) else None
                has_help = (
                    isinstance(follower, ast.Expr)
                    and isinstance(follower.value, ast.Constant)
                    and isinstance(follower.value.value, str)
                )
                assert has_help, f"{node.name}, line {node.body[index].lineno}: no help under the field"


def test_importing_accord_imports_no_torch() -> None:
    script = "import sys, accord; print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_mentions_a_path_of_one_machine() -> None:
    """Absolute paths into a home or a checkout; `.ci/run` alone may look beside the checkout."""
    machine_path = re.compile(rf"/(?:home|Users|root|mnt)/\w|{re.escape(str(ROOT.parent))}/")
    beside = re.compile(r"\.\./shared")
    found = []
    for path in tracked_files():
        text = path.read_text(encoding="utf-8", errors="ignore")
        if machine_path.search(text) or (
            beside.search(text) and path != ROOT / ".ci" / "run" and path != Path(__file__)
        ):
            found.append(path.relative_to(ROOT).as_posix())
    assert found == []
