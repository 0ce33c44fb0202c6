from pathlib import Path

import msgspec
import pytest

from accord.data.prepared import load_prepared
from accord.data.schemes import SCHEMES
from accord.errors import ArtifactError, DataError
from accord.json_files import write_jsonl
from accord.records import Annotation, Item


def test_a_file_needs_its_scheme(tmp_path: Path) -> None:
    items = [Item("i1", "p", "c", (Annotation("a", "yes"),))]
    write_jsonl(tmp_path / "items.jsonl", items)
    with pytest.raises(DataError, match="accord prepare"):
        load_prepared(tmp_path / "items.jsonl")
    (tmp_path / "scheme.json").write_bytes(msgspec.json.encode(SCHEMES["yes-no"]))
    assert load_prepared(tmp_path / "items.jsonl") == (items, SCHEMES["yes-no"])


def test_an_unfinished_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="unfinished"):
        load_prepared(tmp_path)
