"""Reading back what `accord prepare` wrote: the input of every later stage."""

from pathlib import Path
from typing import NamedTuple

from accord.artifacts import require_complete
from accord.data.schemes import LabelScheme, load_scheme
from accord.errors import DataError
from accord.json_files import read_jsonl
from accord.records import Item

ITEMS_FILE = "items.jsonl"
SCHEME_FILE = "scheme.json"
ANNOTATORS_FILE = "annotators.jsonl"
AGREEMENT_FILE = "agreement.json"
PROMPTS_FILE = "prompts.jsonl"
COUNTS_FILE = "prompts.json"


class Prepared(NamedTuple):
    items: list[Item]
    scheme: LabelScheme


def load_prepared(folder_or_file: Path) -> Prepared:
    """The items and the label scheme of a prepared folder, or of an items file with a scheme.json beside it.

    Raises:
        ArtifactError: the folder is missing, unfinished, or another stage's.
        DataError: a folder of prompts, an items file without its scheme, or a bad row.
    """
    path = Path(folder_or_file)
    items_path = path if path.is_file() else require_complete(path, "prepare") / ITEMS_FILE
    if not items_path.is_file():
        raise DataError(
            f"{path} holds {PROMPTS_FILE}: prompts with replies that nobody judged. Expected annotated items. "
            "Give this folder to `accord generate` or `accord decode`, and one with annotations here."
        )
    scheme_path = items_path.with_name(SCHEME_FILE)
    if not scheme_path.is_file():
        raise DataError(
            f"{items_path} has no {SCHEME_FILE} beside it, so its labels have no meaning. "
            "Expected a folder made by `accord prepare`; run that on the file first."
        )
    return Prepared(list(read_jsonl(items_path, Item)), load_scheme(scheme_path))


def prompts_file(folder_or_file: Path) -> Path:
    """The prompts of a prepared folder; a file is taken as it is.

    Raises:
        ArtifactError: the folder is unfinished, or another stage's.
        DataError: the folder holds annotated items.
    """
    path = Path(folder_or_file)
    if not path.is_dir():
        return path
    prompts_path = require_complete(path, "prepare") / PROMPTS_FILE
    if not prompts_path.is_file():
        raise DataError(
            f"{path} holds {ITEMS_FILE}, texts that were judged. Expected {PROMPTS_FILE}: "
            "a JSONL file of prompts, or a folder that `accord prepare` made of a corpus of prompts."
        )
    return prompts_path
