"""Damages that the tests inflict on the files, folders and models of a tiny run, and how the verbs are run on them."""

import contextlib
import gzip
import io
import itertools
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from accord.cli.main import main
from toys import write_toy_run

FIT = "--model encoder --max-length 64 --epochs 2 --n-folds 2 --n-resamples 20"
GENERATE = "--model generator --max-new-tokens 6 --batch-tokens 100 --num-candidates 3"
CALIBRATE = "--model generator --epochs 2 --batch-size 3 --micro-batch-size 2 --lora-r 2 --eval-every 1"
DECODE = "--max-new-tokens 6 --samples 2 --batch-tokens 100"
EVALUATE = "--baseline base --n-resamples 20 --n-randomisations 50"
CHAIN = {
    "prepared": "prepare items.jsonl --n-resamples 20",
    "preference": f"fit prepared {FIT}",
    "candidates": f"generate prompts.jsonl {GENERATE}",
    "scored": "score candidates --preference preference",
    "calibrated": f"calibrate scored {CALIBRATE}",
    "outputs": f"decode test_prompts.jsonl --system base --model generator {DECODE}",
    "others": f"decode test_prompts.jsonl --system calibrated --model calibrated/generator {DECODE}",
    "evaluation": f"evaluate outputs others --preference-model preference {EVALUATE}",
    "report": "report --prepared prepared --preference preference --candidates scored "
    "--calibration calibrated=calibrated --evaluation evaluation --outputs outputs --outputs others",
}
"""Folder of a finished stage -> the command that made it, without --output-dir."""
NOTHING = "nothing was written"
REDONE = "nothing was written; mended, the same command gives the undamaged results"
SAME = "the results are those of the undamaged file"
READ_ONLY = "nothing is ever written by this verb"
RESUMED = "the same command again gives the undisturbed results, byte for byte"
OTHER = "another stage's"
QUICK = ("prepared", "candidates", "scored", "others", "evaluation")
"""Folders that are made anew in well under a second."""


class Case(NamedTuple):
    """One damage: where it stands on the page, what it is, the command, and how to inflict it in the current folder.

    `reference`: the finished folder whose bytes the command gives without the damage. `works`: it must do no harm.
    """

    section: str
    what: str
    command: str
    inflict: Callable[[], object]
    reference: str | None = None
    works: bool = False

    @property
    def verb(self) -> str:
        return self.command.split()[0]

    @property
    def is_redone(self) -> bool:
        """Whether the test mends the damage and runs the command again: where that is quick, and once per verb."""
        is_wanted = self.reference == "prepared" or ("torn" in self.what and self.reference in QUICK)
        return is_wanted and not self.works and self.command.endswith(" --output-dir out")

    @property
    def survived(self) -> str:
        if self.works:
            return SAME
        if "--output-dir" not in self.command:
            return READ_ONLY
        return REDONE if self.is_redone else NOTHING


class Outcome(NamedTuple):
    """Exit code, the program's own lines, and everything on standard error."""

    code: int
    printed: str
    stderr: str


# -- running ----------------------------------------------------------------------------------------------------


def build_toy_chain(folder: Path) -> None:
    """Every stage of a tiny run in `folder`, by the verbs."""
    folder.mkdir(parents=True, exist_ok=True)
    write_toy_run(folder)
    with inside(folder):
        make_paths_relative()
        for output_dir, command in CHAIN.items():
            outcome = accord(f"{command} --output-dir {output_dir}")
            assert outcome.code == 0, outcome.stderr


def make_paths_relative() -> None:
    """So that no path of this machine gets into a message."""
    path = Path("toy.yaml")
    path.write_text(path.read_text().replace(f"{Path.cwd()}/", ""))


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def accord(command: str) -> Outcome:
    """Run the program here. Its own lines start with "accord: "; log messages of its warnings are printed too."""
    stdout, stderr = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(stderr)
    logging.getLogger("accord").addHandler(handler)
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            code = main(command.split())
    finally:
        logging.getLogger("accord").removeHandler(handler)
    lines = [line for line in stderr.getvalue().splitlines() if line.startswith("accord: ")]
    return Outcome(code, "\n".join(lines), stderr.getvalue())


def results_of(folder: str) -> Any:
    """The files of a finished folder with their hashes, without timings."""
    return json.loads((Path(folder) / "manifest.json").read_text())["files"]


def copy_of(chain: Path, folder: Path) -> Path:
    """A fresh copy of the toy chain to damage."""
    return Path(shutil.copytree(chain, folder, symlinks=True))


# -- inflicting -------------------------------------------------------------------------------------------------


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[], object]:
    def inflict() -> None:
        path = Path(name)
        path.write_bytes(change(path.read_bytes()))

    return inflict


def holding(name: str, content: bytes) -> Callable[[], object]:
    return lambda: Path(name).write_bytes(content)


def cut(name: str) -> Callable[[], object]:
    """Torn in the middle."""
    return rewrite(name, lambda raw: raw[: len(raw) // 2])


def removed(name: str) -> Callable[[], object]:
    return lambda: shutil.rmtree(name) if Path(name).is_dir() else Path(name).unlink()


def instead(name: str, make: Callable[[Path], object]) -> Callable[[], object]:
    """Something else in the place of a file or folder."""

    def inflict() -> None:
        removed(name)()
        make(Path(name))

    return inflict


def with_json(name: str, **changes: Any) -> Callable[[], object]:
    return rewrite(name, lambda raw: json.dumps(json.loads(raw) | changes).encode())


def with_row(name: str, number: int, **changes: Any) -> Callable[[], object]:
    """One row of a JSONL file changed, so that a field is of another type."""

    def change(raw: bytes) -> bytes:
        rows = raw.splitlines(keepends=True)
        rows[number - 1] = json.dumps(json.loads(rows[number - 1]) | changes).encode() + b"\n"
        return b"".join(rows)

    return rewrite(name, change)


def pickled(folder: str, name: str) -> Callable[[], object]:
    """The weights as an old-style pickle."""

    def inflict() -> None:
        import torch
        from safetensors.torch import load_file

        path = Path(folder) / f"{name}.safetensors"
        torch.save(load_file(path), Path(folder) / ("pytorch_model.bin" if name == "model" else f"{name}.bin"))
        path.unlink()

    return inflict


def both(*inflictions: Callable[[], object]) -> Callable[[], object]:
    return lambda: [inflict() for inflict in inflictions]


def _second_line(raw: bytes, change: Callable[[bytes], bytes]) -> bytes:
    lines = raw.splitlines(keepends=True)
    return b"".join([lines[0], change(lines[1]), *lines[2:]])


TEXT_DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "blank lines only": lambda _: b"\n\n  \r\n",
    "last line torn": lambda raw: raw[:-15],
    "a list for a row": lambda raw: _second_line(raw, lambda _: b"[1, 2]\n"),
    "NaN, which is no JSON": lambda raw: _second_line(raw, lambda line: line[:-2] + b', "x": NaN}\n'),
    "Latin-1": lambda raw: _second_line(raw, lambda line: line.replace(b"feel", b"f\xe9el")),
    "UTF-16": lambda raw: raw.decode().encode("utf-16-le").join([b"\xff\xfe", b""]),
    "gzip": gzip.compress,
    "NUL bytes in a line": lambda raw: _second_line(raw, lambda line: line.replace(b"feel", b"f\0el")),
    "NUL bytes only": lambda raw: bytes(len(raw)),
    "half a surrogate pair": lambda raw: _second_line(raw, lambda line: line.replace(b"feel", b"f\\ud800l")),
    "nested 100,000 deep": lambda raw: _second_line(raw, lambda line: line[:-2] + b', "x": ' + b"[" * 100_000 + b"\n"),
    "a line of 10 MB that is no row": lambda raw: _second_line(raw, lambda _: b'{"id": "' + b"x" * 10**7 + b'"}\n'),
}
FEW = ("empty", "last line torn", "Latin-1", "a line of 10 MB that is no row")
HARMLESS: dict[str, Callable[[bytes], bytes]] = {
    "UTF-8 byte order mark": lambda raw: b"\xef\xbb\xbf" + raw,
    "Windows line ends": lambda raw: raw.replace(b"\n", b"\r\n"),
    "no end of line at the end": lambda raw: raw.rstrip(b"\n"),
}
READERS = {
    "items.jsonl": ("prepared", CHAIN["prepared"]),
    "prompts.jsonl": ("candidates", CHAIN["candidates"]),
    "candidates.jsonl": ("scored", "score candidates.jsonl --preference preference"),
    "outputs.jsonl": (None, "evaluate outputs.jsonl --n-resamples 20"),
    "values.jsonl": (None, "evaluate outputs --values values.jsonl --n-resamples 20"),
}
"""A file of rows -> the folder that its command makes, and the command."""
VALUES = b'{"id": "p3", "system": "base", "taste": 1}\n{"id": "p3", "system": "base", "sample": 1, "feel": 2}\n'


def place_files() -> None:
    """Copies of what stages wrote, as files that a user passes on."""
    shutil.copy("candidates/candidates.jsonl", "candidates.jsonl")
    shutil.copy("outputs/outputs.jsonl", "outputs.jsonl")
    Path("values.jsonl").write_bytes(VALUES)


def _text_cases() -> Iterator[Case]:
    for (name, (reference, command)), (what, change) in itertools.product(READERS.items(), TEXT_DAMAGES.items()):
        if name not in ("items.jsonl", "prompts.jsonl") and what not in FEW:
            continue  # read by the same function as prompts
        yield Case("Files", f"`{name}`: {what}", f"{command} --output-dir out", rewrite(name, change), reference)
    for (name, (reference, command)), (what, change) in itertools.product(READERS.items(), HARMLESS.items()):
        if reference is not None:
            yield Case(
                "Files", f"`{name}`: {what}", f"{command} --output-dir out", rewrite(name, change), reference, True
            )


def _place_cases() -> Iterator[Case]:
    """What stands where a file should."""
    places: dict[str, Callable[[Path], object]] = {
        "missing": lambda _: None,
        "a folder": lambda path: path.mkdir(),
        "a link to itself": lambda path: path.symlink_to(path.name),
        "a link to nothing": lambda path: path.symlink_to("nowhere"),
        "a named pipe": os.mkfifo,
    }
    for name, (what, make) in itertools.product(("items.jsonl", "prompts.jsonl", "outputs.jsonl"), places.items()):
        reference, command = READERS[name]
        yield Case("Files", f"`{name}`: {what}", f"{command} --output-dir out", instead(name, make), reference)


def _item_cases() -> Iterator[Case]:
    """Fields of the wrong type at the door."""
    annotation = {"annotator": "a1", "label": "acceptable"}
    wrong: dict[str, dict[str, Any]] = {
        "id is a list": {"id": [1]},
        "prompt is a number": {"prompt": 3},
        "completion is null": {"completion": None},
        "completion is empty": {"completion": " "},
        "annotations is text": {"annotations": "yes"},
        "an annotation without label": {"annotations": [{"annotator": "a1"}]},
        "a label outside the scheme": {"annotations": [annotation | {"label": "maybe"}]},
        "one annotator twice": {"annotations": [annotation, annotation]},
        "votes beside annotations": {"votes": {"acceptable": 1}},
        "an id twice": {"id": "p0-0"},
        "an unknown split": {"split": "validate"},
        "NUL in a text": {"completion": "a\0b"},
    }
    command = f"{CHAIN['prepared']} --output-dir out"
    for what, changes in wrong.items():
        yield Case("Rows", what, command, with_row("items.jsonl", 2, **changes), "prepared")
    key_twice = rewrite("items.jsonl", lambda raw: _second_line(raw, lambda line: line[:-2] + b', "id": "zz"}\n'))
    yield Case("Rows", "a key twice in one object", command, key_twice, "prepared")
    wrong_rows: dict[str, tuple[str, dict[str, Any]]] = {
        "a prompt's id twice": ("prompts.jsonl", {"id": "p0"}),
        "a prompt with NUL": ("prompts.jsonl", {"prompt": "a\0b"}),
        "references is text": ("prompts.jsonl", {"references": "yes"}),
        "completions is text": ("candidates.jsonl", {"completions": "yes"}),
        "an output twice": ("outputs.jsonl", {"sample": 0}),
        "a value that is text": ("values.jsonl", {"taste": "good"}),
        "a value of no output": ("values.jsonl", {"id": "p99"}),
    }
    for what, (name, changes) in wrong_rows.items():
        reference, command = READERS[name]
        yield Case("Rows", what, f"{command} --output-dir out", with_row(name, 2, **changes), reference)
    no_scores = f"calibrate candidates.jsonl {CALIBRATE} --output-dir out"
    yield Case("Rows", "candidates without scores", no_scores, lambda: None)


TABLE = "id,prompt,completion,annotator,label\n1,p,c,a,yes\n1,p,c,b,no\n2,q,d,a,no\n2,q,d,b,yes\n3,r,e,a,yes\n"
TABLES = {
    "empty": "",
    "a header alone": "id,prompt,completion,annotator,label\n",
    "a ragged row": TABLE + "4,p,c\n",
    "an unclosed quote": TABLE + '4,p,"c,a,yes\n',
    "a column twice": TABLE.replace("prompt", "id", 1),
    "a delimiter that was not told apart": TABLE.replace(",", ";"),
    "a cell of 10 MB and no label": TABLE + f"4,p,{'x' * 10**7},a,\n",
    "NUL in a cell": TABLE + "4,p,c\0,a,yes\n",
}


def _table_cases() -> Iterator[Case]:
    command = "prepare table.csv --scheme yes-no --n-resamples 20 --output-dir out"
    for what, text in TABLES.items():
        yield Case("Tables", f"`table.csv`: {what}", command, holding("table.csv", text.encode()))
    yield Case(
        "Tables", "`table.csv`: Latin-1", command, holding("table.csv", (TABLE + "4,p,\xe9,a,yes\n").encode("latin-1"))
    )
    document = "prepare table.json --n-resamples 20 --output-dir out"
    for what, text in {"torn": '[{"id": "1"', "text after the end": "[]x", "nested too deep": "[" * 100_000}.items():
        yield Case("Tables", f"`table.json`: {what}", document, holding("table.json", text.encode()))
    scheme = "prepare items.jsonl --scheme scheme.json --n-resamples 20 --output-dir out"
    yield Case("Tables", "`scheme.json`: torn", scheme, holding("scheme.json", b'{"name": "x", "labels"'))


def _folder_cases() -> Iterator[Case]:
    readers = {
        "prepared": ("describe prepared", "agreement.json", None),
        "candidates": (f"{CHAIN['scored']} --output-dir out", "candidates.jsonl", "scored"),
        "scored": (f"{CHAIN['calibrated']} --output-dir out", "candidates.jsonl", "calibrated"),
        "preference": (f"{CHAIN['scored']} --output-dir out", "model/config.json", "scored"),
        "calibrated": (
            f"decode test_prompts.jsonl --system x --model calibrated {DECODE} --output-dir out",
            "curve.jsonl",
            None,
        ),
        "outputs": (f"{CHAIN['evaluation']} --output-dir out", "outputs.jsonl", "evaluation"),
        "evaluation": ("compare calibrated base --evaluation evaluation", "comparisons.json", None),
    }
    for folder, (command, result, reference) in readers.items():
        other = "outputs" if folder != "outputs" else "prepared"
        damages: dict[str, Callable[[], object]] = {
            "missing": removed(folder),
            "empty": instead(folder, lambda path: path.mkdir()),
            "no stage.json": removed(f"{folder}/stage.json"),
            "stage.json is garbage": holding(f"{folder}/stage.json", b"\xff{"),
            "stage.json of wrong types": holding(f"{folder}/stage.json", b'{"stage": 1}'),
            "no manifest.json: unfinished": removed(f"{folder}/manifest.json"),
            "manifest.json torn": cut(f"{folder}/manifest.json"),
            "manifest.json of wrong types": holding(f"{folder}/manifest.json", b'{"files": [1]}'),
            f"{result} torn": cut(f"{folder}/{result}"),
            f"{result} missing": removed(f"{folder}/{result}"),
            OTHER: instead(folder, lambda path, other=other: shutil.copytree(other, path)),  # type: ignore[misc]  # bound now
        }
        for what, inflict in damages.items():
            if folder not in ("prepared", "candidates") and what not in (f"{result} torn", f"{result} missing", OTHER):
                continue  # checked by the same function
            yield Case("Folders", f"`{folder}/`: {what}", command, inflict, reference)


def _model_cases() -> Iterator[Case]:
    readers = {
        "generator": (f"{CHAIN['candidates']} --output-dir out", "candidates"),
        "encoder": (f"{CHAIN['preference']} --output-dir out", "preference"),
    }
    for folder, (command, reference) in readers.items():
        weights, config = f"{folder}/model.safetensors", f"{folder}/config.json"
        damages = {
            "no weights": removed(weights),
            "weights torn": cut(weights),
            "weights empty": holding(weights, b""),
            "weights that are a pickle": holding(weights, b"\x80\x04pickle" * 100),
            "pickled weights only (.bin)": pickled(folder, "model"),
            "no config.json": removed(config),
            "config.json torn": cut(config),
            "config.json of another size": with_json(config, hidden_size=64),
            "config.json with more layers": with_json(config, num_hidden_layers=5),
            "config.json of an unknown kind": with_json(config, model_type="nonsense"),
            "tokenizer.json torn": cut(f"{folder}/tokenizer.json"),
            "no tokenizer": both(removed(f"{folder}/tokenizer.json"), removed(f"{folder}/tokenizer_config.json")),
        }
        for what, inflict in damages.items():
            yield Case("Models", f"`{folder}/`: {what}", command, inflict, reference)
    swapped = instead("generator", lambda path: shutil.copytree("encoder", path))
    yield Case("Models", "`generator/`: an encoder", f"{CHAIN['candidates']} --output-dir out", swapped, "candidates")
    scored, adapter = "score candidates --preference preference/model --output-dir out", "calibrated/generator"
    yield Case(
        "Models", "`preference/model/`: weights torn", scored, cut("preference/model/model.safetensors"), "scored"
    )
    decode = f"{CHAIN['others']} --output-dir out"
    adapters = {
        "no weights": removed(f"{adapter}/adapter_model.safetensors"),
        "weights torn": cut(f"{adapter}/adapter_model.safetensors"),
        "pickled weights only (.bin)": pickled(adapter, "adapter_model"),
        "adapter_config.json torn": cut(f"{adapter}/adapter_config.json"),
        "adapter_config.json without a base": with_json(f"{adapter}/adapter_config.json", base_model_name_or_path=None),
        "adapter_config.json of another rank": with_json(f"{adapter}/adapter_config.json", r=7),
        "its base is gone": removed("generator"),
    }
    for what, inflict in adapters.items():
        yield Case("Models", f"`{adapter}/`: {what}", decode, inflict, "others")


BOMB = "x0: &x0 [a]\n" + "".join(f"x{n + 1}: &x{n + 1} [{', '.join([f'*x{n}'] * 9)}]\n" for n in range(9))


def _settings_cases() -> Iterator[Case]:
    texts = {
        "torn": "warmup_steps: [1, 2",
        "a list": "- 1\n",
        "an unknown key": "warmup_step: 4\n",
        "a text for a number": "warmup_steps: many\n",
        "a list for a number": "warmup_steps: [1, 2]\n",
        "null for a number": "warmup_steps: null\n",
        "a key twice, spelled twice": "warmup_steps: 4\nwarmup-steps: 5\n",
        "tabs": "warmup_steps:\n\t4\n",
        "NUL": "warmup_steps: 4\0\n",
        "aliases that unfold to a thousand million values": BOMB,
        "an alias of itself": "warmup_steps: &a [*a]\n",
        "nested 100,000 deep": "warmup_steps: " + "[" * 100_000,
        "a number of 5,000 digits": f"warmup_steps: {'9' * 5000}\n",
        "a Python object": "model: !!python/object/apply:os.getcwd []\n",
        "two documents": "warmup_steps: 4\n---\nwarmup_steps: 5\n",
    }
    command = f"{CHAIN['calibrated']} --config settings.yaml --output-dir out"
    for what, text in texts.items():
        yield Case(
            "Settings", f"`settings.yaml`: {what}", command, holding("settings.yaml", text.encode()), "calibrated"
        )
    utf16 = holding("settings.yaml", "warmup_steps: 4\n".encode("utf-16-le"))
    yield Case(
        "Settings", "`settings.yaml`: Latin-1", command, holding("settings.yaml", b"model: caf\xe9\n"), "calibrated"
    )
    yield Case(
        "Settings",
        "`settings.yaml`: UTF-16",
        command,
        both(utf16, rewrite("settings.yaml", lambda raw: b"\xff\xfe" + raw)),
    )
    yield Case("Settings", "`settings.yaml`: missing", command, lambda: None)
    run = "run toy.yaml --output-dir out"
    sections = {
        "a section that is a number": (b"rerank: {k: 2, picks: 2}", b"rerank: 3"),
        "a section misspelled": (b"calibrate:", b"calibrat:"),
        "a key of a section misspelled": (b"picks:", b"pick:"),
        "a wrong type in a section": (b"n_folds: 2", b"n_folds: two"),
        "a seed that is no number": (b"seed: 3", b"seed: yes"),
        "no source": (b"source: items.jsonl\n", b""),
        "a source that is not there": (b"source: items.jsonl", b"source: item.jsonl"),
    }
    for what, (found, wanted) in sections.items():
        inflict = rewrite("toy.yaml", lambda raw, found=found, wanted=wanted: raw.replace(found, wanted, 1))  # type: ignore[misc]  # bound now
        yield Case("Settings", f"`toy.yaml`: {what}", run, inflict)


def _output_cases() -> Iterator[Case]:
    command = CHAIN["prepared"]
    places = {
        "is a file": "toy.yaml",
        "is below a file": "toy.yaml/out",
        "holds something else": "encoder",
        "is the folder of other settings": "scored",
        "cannot be made": "/proc/accord",
    }
    for what, place in places.items():
        yield Case(
            "Output folders", f"--output-dir {what}", f"{command} --output-dir {place}", lambda: None, "prepared"
        )


CASES: list[Case] = [
    *_text_cases(),
    *_place_cases(),
    *_item_cases(),
    *_table_cases(),
    *_folder_cases(),
    *_model_cases(),
    *_settings_cases(),
    *_output_cases(),
]


def run_case(case: Case, folder: Path) -> Outcome:
    """Inflict one damage on a copy of the chain and run its command there."""
    with inside(folder):
        place_files()
        case.inflict()
        return accord(case.command)


def run_mended(case: Case, damaged: Path, folder: Path) -> Outcome:
    """The same command on an undamaged copy of the chain, with what the damaged run left of its output folder."""
    with inside(folder):
        place_files()
        if (damaged / "out").exists():
            shutil.copytree(damaged / "out", "out")
        return accord(case.command)
