"""Formats of other tools through the door: LeWiDi 2025, crowd-kit, cleanlab, PRISM, Parquet."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as arrow
import pytest
from crowdkit.aggregation import MajorityVote
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from accord.data.aggregation import majority_label
from accord.data.labels import build_votes
from accord.data.parquet import parquet_rows
from accord.data.prepare import prepare_stage
from accord.data.prepared import load_prepared
from accord.data.schema import read_items
from accord.data.schemes import SCHEMES, LabelScheme
from accord.data.settings import PrepareSettings
from accord.errors import ArtifactError, ConfigError, DataError
from accord.json_files import read_json
from accord.records import Annotation, Item, Message

YES_NO = SCHEMES["yes-no"]


def read(path: Path, **options: Any) -> list[Item]:
    return list(read_items(path, **{"scheme": YES_NO, **options}))


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


# -- LeWiDi 2025 ------------------------------------------------------------------------------------------------

LIKERT = LabelScheme(name="l", labels=tuple(str(k) for k in range(-5, 6)), acceptable=("5",), level="ordinal")


def lewidi(texts: dict[str, str], labels: dict[str, Any], **changes: Any) -> str:
    record = {
        "annotation task": "sarcasm detection",
        "text": texts,
        "number of annotators": len(labels),
        "annotators": ",".join(labels),
        "annotations": labels,
        "soft_label": {"0": 1.0},
        "split": "dev",
        "lang": "en",
    }
    return json.dumps({"17": {**record, **changes}})


@pytest.mark.parametrize(
    "texts",
    [
        {"context": "first", "response": "second"},
        {"post": "first", "reply": "second"},
        {"Question1": "first", "Question2": "second"},
        {"context": "first", "statement": "second"},
    ],
)
def test_lewidi_2025_of_each_task(tmp_path: Path, texts: dict[str, str]) -> None:
    """The space before the second name is in the published CSC files."""
    path = write(tmp_path, "d.json", lewidi(texts, {"Ann1": "-3", " Ann2": "5"}))
    annotations = (Annotation("Ann1", "-3"), Annotation("Ann2", "5"))
    assert read(path, format="lewidi2025", scheme=LIKERT) == [Item("17", "first", "second", annotations, split="dev")]


def test_lewidi_2025_where_annotators_choose_several_labels(tmp_path: Path) -> None:
    """Its own soft label says entailment 0.5: one of two annotators; neutral 1.0."""
    texts = {"context": "p", "statement": "h"}
    content = lewidi(
        texts,
        {"Ann1": "neutral", "Ann2": "entailment,neutral"},
        **{"annotation task": "natural language inference", "annotators": "Ann1,Ann2,Ann2"},
    )
    path = write(tmp_path, "d.json", content)
    items = read(path, format="lewidi2025")
    shares = {}
    for label in ("contradiction", "entailment", "neutral"):
        votes = build_votes(items, LabelScheme(name="q", labels=("no", "yes"), acceptable=("yes",), question=label))
        shares[label] = (votes.n_acceptable / votes.n_votes).tolist()
    assert shares == {"contradiction": [0.0], "entailment": [0.5], "neutral": [1.0]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lewidi({"a": "x"}, {"Ann1": "1"}), r'text {"a": "x"} is not an object with one of the pairs \["context"'),
        (lewidi({"post": "x", "reply": "y"}, {"Ann1": "1"}, annotations="1"), r'annotations "1" is not an object ann'),
        (lewidi({"post": "x", "reply": "y"}, {"Ann1": "1"}, annotators="Ann2"), r'record lists \("Ann2"\)'),
        (lewidi({"post": "x", "reply": "y"}, {"Ann1": "7"}), r'label "7" is not one of'),
        (
            lewidi({"post": "x", "reply": "y"}, {"A": "maybe"}, **{"annotation task": "natural language inference"}),
            r'annotations "A" "maybe" is not labels out of',
        ),
    ],
)
def test_lewidi_2025_bad_records(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path, "d.json", content), format="lewidi2025", scheme=LIKERT)


# -- crowd-kit and cleanlab -------------------------------------------------------------------------------------

LABELS = pd.DataFrame(
    {
        "task": ["t1", "t1", "t1", "t2", "t2", "t3"],
        "worker": ["w1", "w2", "w3", "w1", "w2", "w2"],
        "label": ["yes", "no", "no", "yes", "yes", "no"],
    }
)
TEXTS = "id,prompt,completion\nt1,p1,c1\nt2,p2,c2\nt3,p3,c3\n"


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # crowd-kit's own
def test_crowdkit_labels_with_texts_from_another_file(tmp_path: Path) -> None:
    LABELS.to_csv(tmp_path / "labels.csv", index=False)
    items = read(tmp_path / "labels.csv", format="crowdkit", texts=write(tmp_path, "texts.csv", TEXTS))
    assert [(item.id, item.prompt, item.completion) for item in items] == [
        ("t1", "p1", "c1"),
        ("t2", "p2", "c2"),
        ("t3", "p3", "c3"),
    ]
    votes = build_votes(items, YES_NO)
    ours = majority_label(votes.counts).argmax(axis=1)
    theirs = MajorityVote().fit_predict(LABELS)
    assert [votes.labels[int(label)] for label in ours] == theirs.tolist() == ["no", "yes", "no"]


def test_cleanlab_columns_by_index_and_by_position(tmp_path: Path) -> None:
    """NaN and empty cells: did not judge. Without an index a row is known by its position from 0."""
    table = pd.DataFrame({"ann1": [1.0, 0.0, float("nan")], "ann2": [float("nan"), 0.0, 1.0]}, index=["t1", "t2", "t3"])
    scheme = LabelScheme(name="binary", labels=("0", "1"), acceptable=("1",))
    texts = write(tmp_path, "texts.csv", TEXTS)
    expected = [
        ("t1", (Annotation("ann1", "1"),)),
        ("t2", (Annotation("ann1", "0"), Annotation("ann2", "0"))),
        ("t3", (Annotation("ann2", "1"),)),
    ]
    table.to_csv(tmp_path / "index.csv")
    table.to_csv(tmp_path / "nan.csv", na_rep="NaN", index_label="id")
    table.to_parquet(tmp_path / "index.parquet")
    for name in ("index.csv", "nan.csv", "index.parquet"):
        items = read(tmp_path / name, format="cleanlab", scheme=scheme, texts=texts)
        assert [(item.id, item.annotations) for item in items] == expected, name
    table.to_csv(tmp_path / "position.csv", index=False)
    by_position = write(tmp_path, "plain.csv", "prompt,completion\np1,c1\np2,c2\np3,c3\n")
    items = read(tmp_path / "position.csv", format="cleanlab", scheme=scheme, texts=by_position)
    assert [(item.id, item.completion) for item in items] == [("0", "c1"), ("1", "c2"), ("2", "c3")]
    assert [item.annotations for item in items] == [annotations for _, annotations in expected]


def test_cleanlab_with_texts_of_its_own_and_chosen_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "r.csv", "id,prompt,completion,a1,a2,note\ni,p,c,yes,,long\n")
    items = read(path, format="cleanlab", annotator_columns=["a*"])
    assert items == [Item("i", "p", "c", (Annotation("a1", "yes"),))]
    with pytest.raises(DataError, match=r'label "long" is not one of'):
        read(path, format="cleanlab")


@pytest.mark.parametrize(
    ("table", "texts", "message"),
    [
        ("task,worker,label\nt9,w1,yes\n", TEXTS, r'labels.csv line 2: id "t9" is not in texts.csv. Add its text'),
        ("task,worker,vote\nt1,w1,yes\n", TEXTS, r'\["label"\] is missing. Expected crowd-kit\'s'),
        ("task,worker,label\nt1,w1,yes\n", TEXTS + "t1,p,c\n", r'texts.csv line 5: id "t1" is not unique'),
        ("task,worker,label\nt1,w1,yes\n", "id,text\nt1,c\n", r"texts.csv: there is no column 'completion' among"),
        ("task,worker,label,prompt\nt1,w1,yes,p\n", TEXTS, r'labels.csv and texts.csv both have \["prompt"\]'),
        ("task,worker,label\n", TEXTS, r"labels.csv has no rows"),
    ],
)
def test_labels_and_texts_that_do_not_fit(tmp_path: Path, table: str, texts: str, message: str) -> None:
    path, texts_path = write(tmp_path, "labels.csv", table), write(tmp_path, "texts.csv", texts)
    with pytest.raises(DataError, match=message):
        read(path, format="crowdkit", texts=texts_path)


def test_rows_without_a_text_are_skipped_on_request(tmp_path: Path) -> None:
    path = write(tmp_path, "labels.csv", "task,worker,label\nt9,w1,yes\nt1,w1,yes\n")
    reader = read_items(
        path, format="crowdkit", scheme=YES_NO, on_bad_row="skip", texts=write(tmp_path, "texts.csv", TEXTS)
    )
    assert [item.id for item in reader] == ["t1"]
    assert [bad.line for bad in reader.bad_rows] == [2]


def test_texts_are_for_tables(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"jsonl rows hold their own. Leave texts out, or read a table"):
        read(tmp_path / "r.jsonl", texts=tmp_path / "t.csv")


def test_texts_count_for_the_fingerprint(tmp_path: Path) -> None:
    path, texts = write(tmp_path, "labels.csv", LABELS.to_csv(index=False)), write(tmp_path, "texts.csv", TEXTS)
    given = PrepareSettings(format="crowdkit", scheme="yes-no", texts=str(texts), n_resamples=10)
    folder = prepare_stage(path, output_dir=tmp_path / "out", settings=given, seed=0)
    assert len(load_prepared(folder).items) == 3
    assert str(tmp_path) not in (folder / "stage.json").read_text()
    texts.write_text(TEXTS.replace("c1", "other"))
    with pytest.raises(ArtifactError, match=r"inputs\.texts"):
        prepare_stage(path, output_dir=tmp_path / "out", settings=given, seed=0)


# -- PRISM ------------------------------------------------------------------------------------------------------


def utterance(name: str, turn: int, score: int, chosen: bool, prompt: str = "Hi", **changes: Any) -> dict[str, Any]:
    row = {"utterance_id": name, "conversation_id": "c1", "turn": turn, "user_id": "user7", "user_prompt": prompt}
    more = {"model_response": f"text {name}", "model_name": "m", "score": score, "if_chosen": chosen}
    return {**row, **more, "conversation_type": "unguided", **changes}


CONVERSATION = [
    utterance("ut2", 1, 90, True, "And then?"),
    utterance("ut0", 0, 10, False),
    utterance("ut1", 0, 80, True),
]


@pytest.mark.parametrize("name", ["utterances.jsonl", "utterances.csv", "utterances.parquet"])
def test_prism_rows_in_every_container(tmp_path: Path, name: str) -> None:
    """The second turn follows the response that was chosen in the first, in whatever order the rows come."""
    frame = pd.DataFrame(CONVERSATION)
    path = tmp_path / name
    if name.endswith("jsonl"):
        frame.to_json(path, orient="records", lines=True)
    elif name.endswith("csv"):
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    items = read(path, format="prism", scheme=SCHEMES["prism-chosen"])
    first = Message("user", "Hi")
    assert [(item.id, item.prompt, item.group, item.system) for item in items] == [
        ("ut2", (first, Message("assistant", "text ut1"), Message("user", "And then?")), "c1", "m"),
        ("ut0", (first,), "c1", "m"),
        ("ut1", (first,), "c1", "m"),
    ]
    assert items[1].annotations == (
        Annotation("user7", "10", "score"),
        Annotation("user7", "not chosen", "chosen"),
    )
    for scheme, n_acceptable in (("prism-chosen", [1, 0, 1]), ("prism-score", [1, 0, 1])):
        assert build_votes(items, SCHEMES[scheme]).n_acceptable.tolist() == n_acceptable


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (utterance("x", 2, 5, False), r'turn 2 of conversation "c1" is not preceded by the response that was chosen'),
        (utterance("x", 0, 5, False, user_id=None), r"user_id is missing, expected a column of PRISM's utterances"),
        (utterance("x", 0, 5, False, if_chosen="perhaps"), r'if_chosen "perhaps" is not true or false'),
        (utterance("x", 0, 5, False) | {"score": "high"}, r'score "high" is not a whole number'),
        (utterance("x", 0, 101, False), r'label "101" is not one of'),
    ],
)
def test_prism_bad_rows(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    rows = [utterance("ut1", 0, 80, True), row]
    path = write(tmp_path, "u.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=message) as caught:
        read(path, format="prism", scheme=SCHEMES["prism-score"])
    assert "u.jsonl line 2" in str(caught.value)


# -- what the format is -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("u.csv", "utterance_id,user_prompt,model_response\nu,p,r\n", r"line 1: these are the columns of prism. Read"),
        ("u.jsonl", json.dumps(utterance("u", 0, 1, True)), r"line 1: these are the fields of prism. Pass --format p"),
        ("d.json", lewidi({"post": "a", "reply": "b"}, {"A": "1"}), r"these are the fields of lewidi2025. Pass"),
        ("d.json", '{"1": {"text": "t", "annotations": "1", "annotators": "A"}}', r"the fields of lewidi2023. Pass"),
        ("r.jsonl", "PAR1", r"r.jsonl is a Parquet file. Pass --format parquet"),
    ],
)
def test_automatic_is_strict_and_says_which_format_it_is(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path, name, content))


def test_an_ending_that_the_format_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"r.json: format crowdkit has the endings .csv, .tsv, .tab, .parquet, .pq, not"
    ):
        read(tmp_path / "r.json", format="crowdkit")


# -- Parquet ----------------------------------------------------------------------------------------------------

CHAT = [{"role": "user", "content": "I lost my job."}]
ITEM = Item("i", (Message("user", "I lost my job."),), "Sorry.", (Annotation("a", "yes"), Annotation("b", "no")))


def write_parquet(path: Path, rows: Sequence[dict[str, Any]], **options: Any) -> Path:
    parquet.write_table(arrow.Table.from_pylist(list(rows)), path, **options)
    return path


def test_parquet_with_nested_annotations_votes_and_long_and_wide_tables(tmp_path: Path) -> None:
    head = {"id": "i", "prompt": CHAT, "completion": "Sorry."}
    nested = {**head, "annotations": [{"annotator": "a", "label": "yes"}, {"annotator": "b", "label": "no"}]}
    long = [{**head, "annotator": "a", "label": "yes"}, {**head, "annotator": "b", "label": "no"}]
    assert read(write_parquet(tmp_path / "n.parquet", [nested])) == [ITEM]
    assert read(write_parquet(tmp_path / "l.parquet", long)) == [ITEM]
    assert read(write_parquet(tmp_path / "w.pq", [{**head, "a": "yes", "b": "no"}]), annotator_columns=["?"]) == [ITEM]
    votes = [{**head, "votes": {"yes": 3, "no": None}}, {**head, "id": "j", "votes": {"yes": None, "no": 2}}]
    assert [item.votes for item in read(write_parquet(tmp_path / "v.parquet", votes))] == [{"yes": 3}, {"no": 2}]
    schema = arrow.schema([*((name, arrow.string()) for name in ("id", "prompt", "completion")),
                           ("votes", arrow.map_(arrow.string(), arrow.int64()))])  # fmt: skip
    mapped = arrow.Table.from_pylist([{**head, "prompt": "p", "votes": [("yes", 3), ("no", 1)]}], schema=schema)
    parquet.write_table(mapped, tmp_path / "m.parquet")
    assert read(tmp_path / "m.parquet")[0].votes == {"yes": 3, "no": 1}


def test_parquet_numbers_are_labels_and_nan_is_absent(tmp_path: Path) -> None:
    rows = [{"id": k, "prompt": "p", "completion": "c", "a": 1.0, "b": float("nan")} for k in (1, 2)]
    items = read(write_parquet(tmp_path / "r.parquet", rows), annotator_columns=["a", "b"], scheme=None)
    assert [(item.id, item.annotations) for item in items] == [(k, (Annotation("a", "1"),)) for k in ("1", "2")]


def test_parquet_is_read_row_group_by_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first row comes when one group of three has been read."""
    rows = [{"id": f"i{k}", "prompt": "p", "completion": "c", "annotator": "a", "label": "yes"} for k in range(3)]
    path = write_parquet(tmp_path / "r.parquet", rows, row_group_size=1)
    batches = []
    original = parquet.ParquetFile.iter_batches

    def counted(*arguments: Any, **options: Any) -> Any:
        for batch in original(*arguments, **options):
            batches.append(len(batch))
            yield batch

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", counted)
    monkeypatch.setattr("accord.data.parquet.BATCH_ROWS", 1)
    found = parquet_rows(path)
    assert (next(found).line, len(batches)) == (1, 1)
    assert [raw.line for raw in found] == [2, 3]


def test_parquet_bad_rows_have_their_number(tmp_path: Path) -> None:
    rows = [{"id": "i", "prompt": "p", "completion": "c", "annotator": "a", "label": label} for label in ("yes", "si")]
    with pytest.raises(DataError, match=r'r.parquet line 2: label "si" is not one of'):
        read(write_parquet(tmp_path / "r.parquet", rows))


def test_damaged_parquet_files(tmp_path: Path) -> None:
    whole = write_parquet(tmp_path / "r.parquet", [{"id": "i", "completion": "c"}]).read_bytes()
    for name, content in (("t.parquet", whole[:-9]), ("e.parquet", b""), ("x.parquet", b"id,completion\n")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}: not a Parquet file that can be read \("):
            read(tmp_path / name)
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "none.parquet")


def test_without_pyarrow_the_error_names_the_extra(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "r.parquet", [{"id": "i"}])
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from accord.cli.main import main\n"
        f"sys.exit(main(['prepare', {str(path)!r}, '--output-dir', {str(tmp_path / 'out')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "accord: Reading Parquet needs the package pyarrow. Install it: pip install 'accord[parquet]'\n",
    )


# -- nothing but errors that can be read ------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
LEWIDI_KEYS = st.sampled_from(["id", "text", "annotations", "annotators", "annotation task", "split"])
FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read_hostile(path: Path, reading: Callable[[str], list[Item]]) -> None:
    for on_bad_row in ("raise", "skip"):
        try:
            reading(on_bad_row)
        except (DataError, ConfigError) as error:
            str(error).encode()


@FUZZ
@given(st.lists(st.dictionaries(LEWIDI_KEYS, VALUES, max_size=6), max_size=3))
def test_any_lewidi_records(tmp_path: Path, records: list[Any]) -> None:
    path = write(tmp_path, "d.json", json.dumps(records))
    read_hostile(path, lambda on_bad_row: read(path, format="lewidi2025", on_bad_row=on_bad_row))


@FUZZ
@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(utterance("u", 0, 1, True), VALUES)), max_size=3))
def test_any_prism_records(tmp_path: Path, records: list[Any]) -> None:
    valid = utterance("u", 0, 1, True)
    path = write(tmp_path, "u.jsonl", "".join(json.dumps({**valid, **record}) + "\n" for record in records))
    read_hostile(path, lambda on_bad_row: read(path, format="prism", on_bad_row=on_bad_row, scheme=None))


@FUZZ
@given(st.lists(st.lists(st.text('at1,"\n\rnN', max_size=4), min_size=2, max_size=4), max_size=4))
def test_any_cleanlab_table(tmp_path: Path, rows: list[list[str]]) -> None:
    path = write(tmp_path, "r.csv", "\n".join(["id,a1,a2", *(",".join(cells) for cells in rows)]))
    texts = write(tmp_path, "texts.csv", "id,prompt,completion\na,p,c\n")
    read_hostile(path, lambda on_bad_row: read(path, format="cleanlab", texts=texts, on_bad_row=on_bad_row))


def test_agreement_counts_ignored_columns(tmp_path: Path) -> None:
    row = {"id": "i", "prompt": "p", "completion": "c", "annotator": "a", "label": "yes", "age": 30}
    path = write_parquet(tmp_path / "r.parquet", [row])
    given = PrepareSettings(scheme="yes-no", n_resamples=10, fractions=(1, 0, 0))
    folder = prepare_stage(path, output_dir=tmp_path / "out", settings=given, seed=0)
    assert read_json(folder / "agreement.json")["ignored_fields"] == {"age": 1}
