"""The ConvAbuse source: a made-up folder in its form, and the real corpus where it is at hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accord.data.labels import build_votes
from accord.data.prepare import prepare_stage
from accord.data.prepared import Prepared, load_prepared
from accord.data.schemes import SCHEMES
from accord.data.settings import PrepareSettings
from accord.data.sources.convabuse import read_convabuse
from accord.errors import DataError
from accord.json_files import read_json
from accord.records import Message
from data_dir import corpus_dir

SCHEME = SCHEMES["abuse-levels"]


def record(split: str, conversations: str, grades: str = "1,-1", soft: float = 0.5) -> dict[str, Any]:
    return {
        "text": json.dumps({"prev_agent": "Hi.", "prev_user": "Hm", "agent": "_", "user": "Stop"}),
        "annotations": grades,
        "annotators": ",".join(f"Ann{k}" for k in range(len(grades.split(",")))),
        "soft_label": {"0": 1 - soft, "1": soft},
        "hard_label": "0",
        "split": split,
        "other_info": {"conversation_id(s)": conversations},
    }


def write_folder(folder: Path, **changes: Any) -> Path:
    records = {"train": record("train", "7"), "dev": record("dev", "9, 7"), "test": record("test", "8"), **changes}
    for split, found in records.items():
        (folder / f"ConvAbuse_{split}.json").write_text(json.dumps({"1": found}))
    return folder


def test_conversations_that_share_an_item_become_one_group(tmp_path: Path) -> None:
    """train is in conversation 7, dev in 9 and 7, test in 8: groups 7, 7, 8."""
    items = read_convabuse(write_folder(tmp_path), scheme=SCHEME, on_bad_row="raise").items
    assert [(item.id, item.group, item.split) for item in items] == [
        ("train-1", "7", "train"),
        ("dev-1", "7", "dev"),
        ("test-1", "8", "test"),
    ]
    assert items[0].prompt == (Message("assistant", "Hi."), Message("user", "Hm"))
    assert items[0].completion == "Stop"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dev": record("dev", "9", soft=0.9)}, r'ConvAbuse_dev.json: item "1" has soft_label .* but 0.50'),
        ({"dev": record("test", "9")}, r"""ConvAbuse_dev.json: item "1" says split 'test'"""),
        ({"dev": record("dev", "9", grades="1,2")}, r'ConvAbuse_dev.json line 1: label "2" is not one of'),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_convabuse(write_folder(tmp_path, **changes), scheme=SCHEME, on_bad_row="raise")


def test_a_folder_without_the_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ConvAbuse_train.json does not exist"):
        read_convabuse(tmp_path, scheme=SCHEME, on_bad_row="raise")


@pytest.fixture(scope="module")
def corpus() -> Path:
    return corpus_dir("convabuse")


def prepare(corpus: Path, output_dir: Path, **options: Any) -> Path:
    settings = PrepareSettings(source="convabuse", n_resamples=100, **options)
    return prepare_stage(corpus, output_dir=output_dir, settings=settings, seed=0)


@pytest.fixture(scope="module")
def folder(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(corpus, tmp_path_factory.mktemp("convabuse") / "prepared")


@pytest.fixture(scope="module")
def prepared(folder: Path) -> Prepared:
    return load_prepared(folder)


def test_published_counts(prepared: Prepared, folder: Path) -> None:
    """4,050 items, 12,168 votes of 8 annotators, 16.0 % abusive; 28 % disagree on the grade, 14 % on abuse."""
    agreement = read_json(folder / "agreement.json")
    assert agreement["splits"] == {"train": 2398, "dev": 812, "test": 840}
    assert (agreement["n_annotations"], agreement["n_annotators"]) == (12168, 8)
    assert 1 - agreement["acceptance_rate"] == pytest.approx(0.160, abs=5e-4)
    assert agreement["share_disagreeing"]["value"] == pytest.approx(0.28, abs=5e-3)
    assert agreement["acceptance_disagreeing"]["value"] == pytest.approx(0.14, abs=5e-3)
    assert agreement["acceptance_ties"] == 77 + 29 + 29
    assert sum(isinstance(item.prompt, str) for item in prepared.items) > 0


def test_votes_and_ties_of_each_split(prepared: Prepared) -> None:
    """Items with two annotators: 629, 215, 206; ties between abusive and not: 77, 29, 29."""
    for split, n_twos, n_ties in (("train", 629, 77), ("dev", 215, 29), ("test", 206, 29)):
        votes = build_votes([item for item in prepared.items if item.split == split], SCHEME)
        assert int((votes.n_votes == 2).sum()) == n_twos
        assert int((2 * votes.n_acceptable == votes.n_votes).sum()) == n_ties


def test_leaks_of_the_official_split_and_a_split_without(corpus: Path, folder: Path, tmp_path: Path) -> None:
    assert all(n > 0 for n in read_json(folder / "agreement.json")["leaks"].values())
    fractions = (2398 / 4050, 812 / 4050, 840 / 4050)
    again = prepare(corpus, tmp_path / "new", resplit=True, disjoint_text="completion", fractions=fractions)
    agreement = read_json(again / "agreement.json")
    leaks = agreement["leaks"]
    assert (leaks["groups"], leaks["completions"], leaks["pairs"]) == (0, 0, 0)
    sizes = np.array([agreement["splits"][split] for split in ("train", "dev", "test")])
    np.testing.assert_allclose(sizes, [2398, 812, 840], atol=12)


def test_constant_prediction_of_the_train_mean(prepared: Prepared) -> None:
    """Soft cross-entropy on test of the constant train mean of the shares: 0.453."""
    train, test = (build_votes([i for i in prepared.items if i.split == s], SCHEME) for s in ("train", "test"))
    mean = (train.n_acceptable / train.n_votes).mean()
    share = test.n_acceptable / test.n_votes
    assert float(-(share * np.log(mean) + (1 - share) * np.log(1 - mean)).mean()) == pytest.approx(0.453, abs=1e-3)
