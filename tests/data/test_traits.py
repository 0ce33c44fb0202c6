"""Annotators' traits: from a file into annotators.jsonl and back, and choosing people by them."""

import json
from pathlib import Path

import pytest

from accord.data.labels import build_votes
from accord.data.prepare import prepare_stage
from accord.data.prepared import load_prepared
from accord.data.settings import PrepareSettings
from accord.data.traits import annotators_with, load_traits, read_traits
from accord.errors import ConfigError, DataError
from accord.json_files import read_json

TRAITS = {"a1": {"country": "uk", "age": "30-39"}, "a2": {"country": "kenya"}, "a3": {}}
LABELS = "id,prompt,completion,annotator,label\n" + "".join(
    f"i{k},p{k},t{k},a{a},{'yes' if (k + a) % 2 else 'no'}\n" for k in range(4) for a in (1, 2, 3)
)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("people.csv", "annotator,country,age\na1,uk,30-39\na2,kenya,\na3,,\n"),
        ("people.tsv", "age\tannotator\tcountry\n30-39\ta1\tuk\n\ta2\tkenya\n\ta3\t\n"),
        (
            "people.jsonl",
            '{"annotator": "a1", "n": 3, "traits": {"country": "uk", "age": "30-39"}}\n'
            '{"annotator": "a2", "traits": {"country": "kenya", "age": null}}\n{"annotator": "a3"}\n',
        ),
        (
            "people.json",
            '[{"annotator": "a1", "traits": {"country": "uk", "age": "30-39"}}, '
            '{"annotator": "a2", "traits": {"country": "kenya"}}, {"annotator": "a3", "traits": {}}]',
        ),
    ],
)
def test_every_format_says_the_same(tmp_path: Path, name: str, text: str) -> None:
    assert read_traits(written(tmp_path / name, text)) == TRAITS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"traits": {"age": "3"}}\n', "annotator is missing, expected the name that the annotations have"),
        ('{"annotator": "a", "traits": ["x"]}\n', r'traits \["x"\] is not an object of trait and value'),
        ('{"annotator": "a", "traits": {"age": [1]}}\n', r'trait "age" \[1\] is not one value, text or a number'),
        ('{"annotator": "a"}\n{"annotator": "a"}\n', 'people.jsonl line 2: annotator "a" is not unique'),
        ("{\n", "people.jsonl line 1: row"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_traits(written(tmp_path / "people.jsonl", text))


def test_prepare_keeps_traits_beside_the_annotators(tmp_path: Path) -> None:
    source = written(tmp_path / "ratings.csv", LABELS)
    people = written(tmp_path / "people.csv", "annotator,country\na1,uk\na2,kenya\nzoe,peru\n")
    settings = PrepareSettings(scheme="yes-no", n_resamples=20, traits=str(people))
    folder = prepare_stage(source, output_dir=tmp_path / "prepared", settings=settings, seed=0)
    rows = [json.loads(line) for line in (folder / "annotators.jsonl").read_text().splitlines()]
    assert [(row["annotator"], row["n"], row["traits"]) for row in rows] == [
        ("a1", 4, {"country": "uk"}),
        ("a2", 4, {"country": "kenya"}),
        ("a3", 4, {}),
    ]
    assert read_json(folder / "agreement.json")["n_annotators_without_traits"] == 1
    expected = {"a1": {"country": "uk"}, "a2": {"country": "kenya"}}
    assert load_traits(folder) == load_traits(folder / "items.jsonl") == expected


def test_without_a_file_of_traits_nothing_changes(tmp_path: Path) -> None:
    source = written(tmp_path / "ratings.csv", LABELS)
    settings = PrepareSettings(scheme="yes-no", n_resamples=20)
    folder = prepare_stage(source, output_dir=tmp_path / "prepared", settings=settings, seed=0)
    assert "traits" not in (folder / "annotators.jsonl").read_text()
    assert "n_annotators_without_traits" not in read_json(folder / "agreement.json")
    assert load_traits(folder) == {}


def test_traits_of_other_people_are_refused_and_nothing_is_left_behind(tmp_path: Path) -> None:
    source = written(tmp_path / "ratings.csv", LABELS)
    people = written(tmp_path / "people.csv", "annotator,country\nzoe,peru\n")
    settings = PrepareSettings(scheme="yes-no", n_resamples=20, traits=str(people))
    with pytest.raises(DataError, match=r'people.csv has traits of \["zoe"\], none of whom made an annotation'):
        prepare_stage(source, output_dir=tmp_path / "prepared", settings=settings, seed=0)
    assert not (tmp_path / "prepared").exists()


def test_people_are_chosen_by_traits(tmp_path: Path) -> None:
    traits = {
        "b[1]": {"country": "uk", "age": "30"},
        "b1": {"country": "kenya", "age": "30"},
        "c": {"country": "uk", "age": "50"},
        "d": {"age": "50"},
    }
    assert annotators_with(traits, ["country=uk"]) == ("b[[]1]", "c")
    assert annotators_with(traits, ["country=uk", "country=k*"]) == ("b[[]1]", "b1", "c")
    assert annotators_with(traits, ["country=uk", "age=30"]) == ("b[[]1]",)
    items = written(
        tmp_path / "items.csv",
        "id,prompt,completion,annotator,label\ni,p,t,b[1],yes\ni,p,t,b1,no\ni,p,t,c,yes\n",
    )
    folder = prepare_stage(
        items, output_dir=tmp_path / "p", settings=PrepareSettings(scheme="yes-no", n_resamples=5), seed=0
    )
    votes = build_votes(*load_prepared(folder), annotators=annotators_with(traits, ["country=uk", "age=30"]))
    assert votes.annotators == ["b[1]"]


@pytest.mark.parametrize(
    ("traits", "wanted", "message"),
    [
        ({}, ["country=uk"], r"but the annotators have none. Give them to `accord prepare --traits FILE`"),
        (TRAITS, ["country"], "traits has 'country'. Expected TRAIT=VALUE"),
        (TRAITS, ["gender=f"], r'traits names \'gender\'. Expected one of \["age", "country"\]'),
        (TRAITS, ["country=peru"], r'country=peru, which nobody has. Expected one of \["kenya", "uk"\]'),
        (TRAITS, ["country=kenya", "age=30-39"], "but nobody has all of them"),
    ],
)
def test_a_wish_that_nobody_meets_is_refused(
    traits: dict[str, dict[str, str]], wanted: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        annotators_with(traits, wanted)
