"""A table of the paper on toy data: the layout, the marks, the controls, and that its stages are shared."""

from pathlib import Path

import msgspec
import pytest

from accord.json_files import read_json, read_jsonl
from accord.records import Output
from accord.report.folders import read_rows
from accord.sweep.paper import PaperRun, run_paper
from accord.sweep.paper_plan import read_paper
from toys import save_tiny_seq2seq, write_toy_run

pytestmark = pytest.mark.slow

TABLE = """\
layout: table1
rows:
- {name: Aligned_major, fit.objective: majority}
- {name: Aligned_d-PM, fit.objective: dpm_rq}
- {name: reference only, fit.objective: dpm_rq, system: reference_only}
- {name: best of K, fit.objective: dpm_rq, system: best_of_k}
compare: ["Aligned_d-PM - reference only"]
evaluate: {metrics: [bleu_1, bleu_2, rouge_l_caption, meteor, distinct_2, length]}
seeds: [0, 13]
generators:
- {name: Llama, base: toy.yaml, published: MultiESC}
- name: BART
  base: toy.yaml
  rows: [Aligned_d-PM]
  seeds: [0]
  generate: {model: SEQ2SEQ}
  calibrate: {model: SEQ2SEQ, tuning: full}
  decode: {model: SEQ2SEQ}
"""
RATED = """\
layout: table2
rows:
- {name: Aligned_major, fit.objective: majority}
- {name: Aligned_d-PM, fit.objective: dpm_rq}
n_rated: 2
evaluate: {metrics: [length], n_resamples: 50}
seeds: [0]
generators:
- {name: Llama, base: toy.yaml, published: MultiESC}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paper")
    write_toy_run(folder)
    (folder / "table1.yaml").write_text(TABLE.replace("SEQ2SEQ", save_tiny_seq2seq(folder / "bart")))
    return folder


@pytest.fixture(scope="module")
def table(folder: Path) -> tuple[PaperRun, list[str]]:
    lines: list[str] = []
    return run_paper(read_paper(folder / "table1.yaml"), output_dir=folder / "out", say=lines.append), lines


def test_every_row_stands_above_the_published_one(table: tuple[PaperRun, list[str]]) -> None:
    run, _ = table
    assert run.failed == {}
    text = (run.report / "report.md").read_text()
    head = next(line for line in text.splitlines() if line.startswith("| model | row"))
    assert head.startswith("| model | row | numbers of | B-1 | B-2 | B-3 | B-4 | R-L | METEOR | CIDEr | Extreme |")
    rows = [line.split(" | ")[:3] for line in text.splitlines() if "this run" in line or "paper, Table 1" in line]
    assert [row[1:] for row in rows[:6]] == [
        ["Base", "this run"],
        ["Base", "paper, Table 1"],
        ["Aligned_major", "this run"],
        ["Aligned_major", "paper, Table 1"],
        ["Aligned_d-PM", "this run"],
        ["Aligned_d-PM", "paper, Table 1"],
    ]


def test_a_candidate_search_is_made_once_for_all_seeds(table: tuple[PaperRun, list[str]], folder: Path) -> None:
    assert len(list((folder / "out" / "candidates").iterdir())) == 2  # one a generator
    assert len(list((folder / "out" / "preference").iterdir())) == 4  # two objectives, two seeds


def test_holm_is_over_all_generators(table: tuple[PaperRun, list[str]]) -> None:
    """5 tests of Llama's rows and 1 of BART's, each on acceptance and six metrics."""
    run, _ = table
    tests = read_json(run.paper / "comparisons.json")
    assert len(tests) == 7 * (5 + 1)
    pairs = {(row["generator"], row["system"]) for row in tests}
    assert ("Llama", "Aligned_d-PM - reference only") in pairs
    assert ("BART", "Aligned_d-PM - Base") in pairs
    smallest = min(row["p"] for row in tests if row["p"] is not None)
    n = sum(row["p"] is not None for row in tests)
    corrected = min(row["p_holm"] for row in tests if row["p_holm"] is not None)
    assert corrected == pytest.approx(min(1.0, n * smallest))


def test_every_seed_stands_by_itself_and_the_table_is_their_mean(table: tuple[PaperRun, list[str]]) -> None:
    run, _ = table
    seeds = list(read_rows(run.paper / "seeds.jsonl"))
    levels = {(r["generator"], r["name"], r["system"]): r["value"] for r in read_json(run.paper / "results.json")}
    found = [row for row in seeds if row["generator"] == "Llama" and row["system"] == "Aligned_d-PM"]
    assert [row["seed"] for row in found] == [0, 13]
    for metric in ("acceptance", "bleu_1", "length"):
        mean = sum(row[metric] for row in found) / 2
        assert levels["Llama", metric, "Aligned_d-PM"] == pytest.approx(mean)


def test_a_rating_table_ends_with_a_study_and_is_filled_by_its_ratings(
    table: tuple[PaperRun, list[str]],  # whose stages it shares
    folder: Path,
) -> None:
    path = folder / "table2.yaml"
    path.write_text(RATED)
    run = run_paper(read_paper(path), output_dir=folder / "out", say=lambda _: None)
    assert run.study == folder / "out" / "study-table2"
    assert (run.study / "study.sqlite").is_file()
    found = [list(read_jsonl(path, Output)) for path in (folder / "out" / "rated_outputs").glob("*/outputs.jsonl")]
    assert sorted(rows[0].system for rows in found) == ["Aligned_d-PM", "Aligned_major", "Base"]
    assert len({tuple(row.id for row in rows) for rows in found}) == 1  # the same prompts for all
    assert {len(rows) for rows in found} == {2}
    assert "this run" not in (run.report / "tables" / "table2.csv").read_text()

    labels = {"Base": "2", "Aligned_major": "3", "Aligned_d-PM": "5"}
    ratings = [
        {"id": f"{row.id}#{row.system}", "prompt_id": row.id, "prompt": row.prompt, "completion": row.completion}
        | {"system": row.system, "group": row.group}
        | {"annotations": [{"annotator": a, "label": labels[row.system], "question": "overall"} for a in "abc"]}
        for rows in found
        for row in rows
    ]
    (folder / "ratings.jsonl").write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in ratings))
    path.write_text("ratings: ratings.jsonl\n" + RATED)
    rated = run_paper(read_paper(path), output_dir=folder / "out", say=lambda _: None)
    assert rated.study is None
    lines = (rated.report / "report.md").read_text().splitlines()
    ours = [line.split(" | ") for line in lines if "| this run |" in line]
    assert [(cells[1], cells[6].split(" ")[0]) for cells in ours] == [
        ("Base", "2.000"),
        ("Aligned_major", "3.000"),
        ("Aligned_d-PM", "5.000"),
    ]
