"""The Social Chemistry source on ten hand-made rows in the published form."""

from pathlib import Path
from typing import Any

import pytest

from accord.data.reader import Reading
from accord.data.schemes import SCHEMES
from accord.data.sources.socialchem import PUBLISHED, read_socialchem
from accord.errors import DataError
from accord.records import Annotation
from data_dir import corpus_dir

CASES = Path(__file__).parents[1] / "cases" / "socialchem"
TABLE = (CASES / PUBLISHED.file).read_text(encoding="utf-8")


def read(source: Path = CASES, **options: Any) -> Reading:
    return read_socialchem(source, **{"scheme": SCHEMES["global-consensus"], "on_bad_row": "raise", **options})


def changed(folder: Path, found: str, wanted: str) -> Path:
    path = folder / PUBLISHED.file
    assert TABLE.count(found) == 1
    path.write_text(TABLE.replace(found, wanted), encoding="utf-8")
    return path


def test_all_judgements_of_a_rule() -> None:
    """Ten rows of six rules, one of them unanswered; 0 to 4 become 1 to 5, also where pandas wrote "3.0"."""
    reading = read()
    rules = {item.id: item for item in reading.items}
    assert len(rules) == 5
    rude = rules["rot/reddit/amitheasshole/aaa/1"]
    assert (rude.prompt, rude.completion) == (
        'Waking my flatmate with the "blender" at 5am',
        "It's rude to make noise early.",
    )
    assert rude.annotations == (Annotation("21", "1"), Annotation("20", "4"), Annotation("22", "5"))
    finds = rules["rot/reddit/confessions/bbb/1"]
    assert finds.annotations == (Annotation("20", "3"), Annotation("23", "4"))
    assert (reading.n_rows, reading.counts) == (10, {"n_without_annotation": 1})


def test_a_situation_is_one_group_on_one_side() -> None:
    """The first row met of the first situation is of the analysis; a later one says dev."""
    sides = {(item.group, item.split) for item in read().items}
    assert sides == {
        ("reddit/amitheasshole/aaa", "dev"),
        ("reddit/confessions/bbb", "train"),
        ("rocstories/ccc", "test"),
    }


@pytest.mark.parametrize(
    ("found", "wanted", "message"),
    [
        ("1\ttrain\t1\t", "1\ttrain\t5\t", r'line 8: rot-agree "5" is not a whole number from 0 to 4'),
        ("1\ttrain\t1\t", "1\tmine\t1\t", r'line 8: split "mine" is not one of \["train", "dev", "test", "dev-extra"'),
        ("1\ttrain\t1\t", "1\tdev\t1\t", r'line 8: split "dev" is not the side of its situation\'s first row, "train"'),
        ("Finders may keep things.", " ", r'line 8: completion "" is not text'),
        ("bbb/1\t7\t23", "bbb/1\t7\t20", r'line 7: annotator "20" is not unique on this item'),
    ],
)
def test_bad_rows(tmp_path: Path, found: str, wanted: str, message: str) -> None:
    path = changed(tmp_path, found, wanted)
    with pytest.raises(DataError, match=r"social-chem-101\.v1\.0\.tsv " + message):
        read(path)
    reading = read(path, on_bad_row="skip")
    assert sum(len(item.annotations) for item in reading.items) == 8


def test_a_situation_without_a_side(tmp_path: Path) -> None:
    path = changed(tmp_path, "1\ttrain\t1\t", "1\tnone\t1\t")
    assert read(path).items[2].split == "train"
    alone = "\n".join([TABLE.splitlines()[0], TABLE.splitlines()[1]]) + "\n"
    path.write_text(alone, encoding="utf-8")
    with pytest.raises(DataError, match=r'split "analysis" is not a side, nor has its situation one of \["train"'):
        read(path)


def test_the_disagreement_rates_are_no_preference_labels() -> None:
    """They say how contested a rule is, not which way; the error shows the columns that are there."""
    with pytest.raises(
        DataError, match=r'there is no column \["split", "rot-agree", .*\] among \["text,disagreement_rate'
    ):
        read(corpus_dir("socialchem-disagreement") / "socialchem_disagreement.csv")
