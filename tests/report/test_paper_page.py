"""The page of a table of the paper, from a folder written by hand."""

from pathlib import Path
from typing import Any

import pytest

from accord.json_files import write_json, write_jsonl
from accord.report.layouts import LAYOUTS, published_rows
from accord.report.paper import (
    axis_section,
    case_section,
    cost_section,
    read_paper_folder,
    spread_section,
    table_section,
    training_section,
)
from accord.report.tables import Marked, Table, format_cell, to_csv

SIGNATURE = "x|ci:bootstrap-1000@0.95/group*seed:5"


def row(name: str, **values: Any) -> dict[str, Any]:
    return {
        "decoding": "",
        "row": name,
        "system": name,
        "values": values,
        "seeds": [0, 1, 2, 3, 4],
        "written": True,
    }


def level(metric: str, system: str, value: float) -> dict[str, Any]:
    numbers = {"value": value, "low": value - 0.01, "high": value + 0.02}
    return {"generator": "BART", "name": metric, "system": system, **numbers, "n": 40, "signature": SIGNATURE}


def difference(metric: str, pair: str, value: float, p: float) -> dict[str, Any]:
    numbers = {"difference": value, "low": value - 0.01, "high": value + 0.01, "p": p, "p_holm": p, "effect": 0.1}
    return {"generator": "BART", "name": metric, "system": pair, **numbers, "test": "bootstrap-4000"}


def write_paper(folder: Path, layout: str, rows: list[dict[str, Any]], **files: list[dict[str, Any]]) -> Path:
    generator = {"name": "BART", "published": "MultiESC", "data_seed": 0, "rows": rows}
    folder.mkdir(parents=True)
    write_json(folder / "paper.json", {"layout": layout, "scale": "tiny", "failed": [], "generators": [generator]})
    for name in ("results", "comparisons", "premise"):
        write_json(folder / f"{name}.json", files.get(name, []))
    for name in ("seeds", "candidates", "curves", "cases"):
        write_jsonl(folder / f"{name}.jsonl", files.get(name, []))
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Table:
    systems = {"Base": 0.2, "Aligned_major": 0.21, "Aligned_d-PM": 0.15, "shuffled": 0.3}
    found = table_section(
        read_paper_folder(
            write_paper(
                tmp_path / "paper",
                "table1",
                [row(name) for name in systems],
                results=[
                    *(level("bleu_1", name, value) for name, value in systems.items()),
                    *(level("perplexity", name, 100 * value) for name, value in systems.items()),
                    *(level("meteor", name, value) for name, value in systems.items()),
                ],
                comparisons=[
                    difference("bleu_1", "Aligned_major - Base", 0.01, 0.2),
                    difference("bleu_1", "Aligned_d-PM - Base", -0.05, 0.01),
                    difference("bleu_1", "shuffled - Base", 0.1, 0.001),
                    difference("perplexity", "Aligned_d-PM - Base", -5.0, 0.01),
                    difference("bleu_1", "shuffled - Aligned_major", 0.09, 0.001),
                ],
            )
        )
    )
    return found.tables[0]


def cell(table: Table, name: str, whose: str, column: str) -> str:
    (found,) = [found for found in table.rows if (found[1], found[2]) == (name, whose)]
    return format_cell(found[table.columns.index(column)])


def test_ours_in_the_papers_unit_above_what_was_printed(table: Table) -> None:
    assert [found[1:3] for found in table.rows] == [
        ("Base", "this run"),
        ("Base", "paper, Table 1"),
        ("Aligned_major", "this run"),
        ("Aligned_major", "paper, Table 1"),
        ("Aligned_d-PM", "this run"),
        ("Aligned_d-PM", "paper, Table 1"),
        ("shuffled", "this run"),
        ("Aligned_soft", "paper, Table 1"),
        ("Aligned_w/oA", "paper, Table 1"),
    ]
    assert cell(table, "Base", "this run", "B-1") == "20.00 [19.00, 22.00]"
    assert cell(table, "Aligned_d-PM", "paper, Table 1", "B-1") == "21.59"
    assert cell(table, "Base", "this run", "CIDEr") == "–"
    assert cell(table, "Base", "this run", "METEOR").startswith("20.00")  # meteor stands in for meteor15


def test_marks_say_better_or_worse_than_base_beyond_chance(table: Table) -> None:
    """Less perplexity is better; a test against another row than Base marks nothing."""
    assert cell(table, "Aligned_major", "this run", "B-1") == "21.00 [20.00, 23.00]"
    assert cell(table, "Aligned_d-PM", "this run", "B-1") == "15.00 ‡ [14.00, 17.00]"
    assert cell(table, "shuffled", "this run", "B-1") == "30.00 † [29.00, 32.00]"
    assert cell(table, "Aligned_d-PM", "this run", "perplexity of the references").startswith("15.00 † ")
    assert "two-sided paired bootstrap (4000 resamples of groups and seeds)" in table.caption
    assert "over the 5 tests" in table.caption


def test_a_marked_number_is_four_columns_of_a_csv() -> None:
    table = Table("t", "t", ("row", "B-1"), (("a", Marked(1.5, 1.0, 2.0, "†")), ("b", Marked(2.5))))
    assert to_csv(table) == "row,B-1,B-1_low,B-1_high,B-1_mark\na,1.5,1.0,2.0,†\nb,2.5,,,\n"


def test_the_page_says_which_metric_stands_in_and_which_is_missing(tmp_path: Path) -> None:
    paper = write_paper(tmp_path / "p", "table1", [row("Base")], results=[level("meteor", "Base", 0.1)])
    (_, notes) = table_section(read_paper_folder(paper)).blocks
    text = "\n".join(notes.texts)
    assert "METEOR is meteor here; the paper's is meteor15." in text
    assert "Not measured in this run: B-1 (bleu_1), B-2 (bleu_2)" in text
    assert "CIDEr (cider_d)" in text
    assert "names no test" in text
    assert "not comparable" in text


def test_a_rating_table_without_ratings_prints_the_published_numbers_alone(tmp_path: Path) -> None:
    paper = write_paper(tmp_path / "p", "table2", [row("Base"), row("Aligned_d-PM")])
    found = table_section(read_paper_folder(paper)).tables[0]
    assert {cells[2] for cells in found.rows} == {"paper, Table 2"}
    assert format_cell(found.rows[0][3]) == "3.017"
    assert found.caption == "No numbers of this run yet: the table is filled by ratings."


def test_k_is_drawn_with_a_line_for_each_tie(tmp_path: Path) -> None:
    rows = [
        row("Base"),
        *(
            row(f"K = {k}, tie {tie}", **{"generate.num_candidates": k, "calibrate.tie": tie})
            for k in (5, 10)
            for tie in (0.0, 0.02)
        ),
    ]
    results = [level("bleu_2", found["row"], 0.1 + 0.01 * number) for number, found in enumerate(rows)]
    section = axis_section(read_paper_folder(write_paper(tmp_path / "p", "figure4", rows, results=results)))
    assert section is not None
    (figure,) = section.figures
    assert figure.title == "BART: B-2"
    assert ">tie 0.02<" in figure.svg
    assert "num candidates" in figure.svg


def test_scores_and_premise_are_shown_by_row(tmp_path: Path) -> None:
    candidates = [
        {"generator": "BART", "row": name, "id": str(n), "group": str(n), "n": 10, "lowest": 0.1, "highest": 0.6}
        for name in ("d-PM", "major")
        for n in range(4)
    ]
    premise = [
        {"generator": "BART", "name": metric, "system": name, "value": 0.25, "low": 0.1, "high": 0.4, "n": 4}
        | {"signature": "x|ci:bootstrap-1000@0.95/group"}
        for name in ("d-PM", "major")
        for metric in ("lowest", "highest", "spread", "rank_correlation")
    ]
    files = {"candidates": candidates, "premise": premise}
    section = spread_section(read_paper_folder(write_paper(tmp_path / "p", "figure3", [row("Base")], **files)))
    assert section is not None
    assert [figure.title for figure in section.figures] == ["BART, scores of d-PM", "BART, scores of major"]
    assert section.figures[0].caption.startswith("4 prompts, 10 candidates each")
    assert section.tables[0].rows[1][:3] == ("BART", "major", 4)
    assert format_cell(section.tables[0].rows[1][-1]) == "0.250 [0.100, 0.400]"


def test_samples_a_second_come_from_the_curves(tmp_path: Path) -> None:
    curves = [
        {
            "generator": "BART",
            "row": name,
            "step": step,
            "loss": 1.0 / step,
            "seconds": pace * step,
            "samples": 8 * step,
        }
        for name, pace in (("RL", 4.0), ("Ours", 2.0))
        for step in (1, 2)
    ]
    section = training_section(read_paper_folder(write_paper(tmp_path / "p", "figure5", [], curves=curves)))
    assert section is not None
    assert [figure.title for figure in section.figures] == ["Loss by step", "Loss by seconds"]
    assert [cells[-1] for cells in section.tables[0].rows] == [2.0, 4.0]


def test_gains_are_against_base_alone_and_cases_show_every_system(tmp_path: Path) -> None:
    text = {"system": "Base", "completion": "I hear you .", "numbers": {"acceptance": 0.75, "length": 4.0}}
    case = {"generator": "BART", "id": "p1", "prompt": "I lost my job .", "references": ["Oh no ."], "texts": [text]}
    folder = write_paper(
        tmp_path / "p",
        "table1",
        [row("Base"), row("DPO")],
        comparisons=[difference("acceptance", "DPO - Base", 0.1, 0.5), difference("acceptance", "DPO - x", 0.3, 0.5)],
        cases=[case],
    )
    gains, cases = cost_section(read_paper_folder(folder)), case_section(read_paper_folder(folder))
    assert gains is not None
    assert [figure.title for figure in gains.figures] == ["BART: acceptance"]
    assert cases is not None
    (example,) = cases.examples
    assert [(found.label, found.note) for found in example.texts] == [
        ("Base", "acceptance 0.75"),
        ("reference", "what a person wrote"),
    ]


def test_the_published_numbers_are_those_of_the_paper() -> None:
    """Counts, and the two facts that the footnotes state: an RL row that is another table's, and unlike rows in
    Fig. 5; Joint's d-PM ties w/oA on B-1."""
    counts = {name: len(published_rows(name)) for name in LAYOUTS}
    assert counts == {
        "table1": 15, "table2": 4, "table3": 27, "table4": 3, "table7": 9, "table8": 27,
        "figure3": 0, "figure4": 0, "figure5": 3,
    }  # fmt: skip
    by_name = {(found.generator, found.row): found for found in published_rows("table1")}
    rl = next(found for found in published_rows("table7") if (found.generator, found.row) == ("MultiESC", "RL"))
    assert rl.values == by_name["MultiESC", "Aligned_w/oA"].values
    assert {found.row: found.values["B-1"] for found in published_rows("figure5")}["RL"] == 11.75
    assert (
        by_name["Blender-Joint", "Aligned_d-PM"].values["B-1"] == by_name["Blender-Joint", "Aligned_w/oA"].values["B-1"]
    )
    assert all(found.marked <= set(found.values) for name in LAYOUTS for found in published_rows(name))
