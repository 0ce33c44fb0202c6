"""What changed most, and at what cost in variety: by hand on a few prompts."""

import re
from pathlib import Path

import pytest

from accord.artifacts import open_stage
from accord.json_files import write_json, write_jsonl
from accord.records import Output
from accord.report.changes import Change, changes, changes_section, main_metric
from accord.report.diversity import diversity_section
from accord.report.document import ReportInputs
from accord.report.settings import ReportSettings

SETTINGS = ReportSettings(n_changes=2)
ACCEPTANCE = {"p0": (0.5, 0.4), "p1": (0.9, 0.1), "p2": (0.2, 0.8), "p3": (0.3, 0.3), "p4": (0.2, 0.9)}
"""Prompt -> acceptance under base and tuned."""


def per_item() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for prompt, (base, tuned) in ACCEPTANCE.items():
        rows += [{"id": prompt, "system": "base", "length": 3.0, "bleu": 1.0, "acceptance": base}]
        rows += [{"id": prompt, "system": "tuned", "length": 9.0, "bleu": 2.0, "acceptance": tuned}]
    return [
        *rows,
        {"id": "p5", "system": "base", "acceptance": None},
        {"id": "p5", "system": "tuned", "acceptance": 0.1},
    ]


def texts(prompt: str, system: str) -> list[str]:
    if system == "base":
        return [f"{prompt} one two three", f"{prompt} four five six"]
    return [f"{prompt} one two one two one two", f"{prompt} one two one two one two"]


@pytest.fixture
def inputs(tmp_path: Path) -> ReportInputs:
    for system in ("base", "tuned"):
        rows = (
            Output(prompt, f"say {prompt}", text, system, sample=sample, references=("x",))
            for prompt in ACCEPTANCE
            for sample, text in enumerate(texts(prompt, system))
        )
        write_jsonl(tmp_path / f"{system}.jsonl", rows)
    stage = open_stage(tmp_path / "evaluation", stage="evaluate", version=1, settings={}, seed=0, inputs={})
    write_jsonl(stage.path("per_item.jsonl"), per_item())
    write_json(stage.path("comparisons.json"), [{"system": "tuned - base", "name": "acceptance"}])
    stage.finish()
    return ReportInputs(outputs=[tmp_path / "base.jsonl", tmp_path / "tuned.jsonl"], evaluation=tmp_path / "evaluation")


def test_the_worst_loss_comes_first_and_undefined_prompts_are_left_out() -> None:
    found = changes(per_item(), "tuned", "base", metric="acceptance")
    assert [change.prompt_id for change in found] == ["p1", "p0", "p3", "p2", "p4"]
    assert found[0] == Change("p1", 0.1, 0.9, 0.1 - 0.9)


def test_less_is_a_gain_where_less_is_better() -> None:
    rows = [{"id": "p", "system": system, "self_bleu": value} for system, value in (("a", 3.0), ("b", 5.0))]
    assert [change.gain for change in changes(rows, "a", "b", metric="self_bleu")] == [2.0]


def test_acceptance_counts_before_overlap_and_length_never() -> None:
    assert main_metric(per_item()) == "acceptance"
    assert main_metric([{"id": "p", "system": "a", "length": 1.0, "bleu": 2.0}]) == "bleu"
    assert main_metric([{"id": "p", "system": "a", "length": 1.0}]) is None
    assert main_metric([]) is None


def test_the_section_shows_losses_then_gains_with_both_texts(inputs: ReportInputs) -> None:
    section = changes_section(inputs, SETTINGS)
    assert section is not None
    assert [(e.prompt, e.title) for e in section.examples] == [
        ("say p1", "Acceptance −0.800"),
        ("say p0", "Acceptance −0.100"),
        ("say p4", "Acceptance +0.700"),
        ("say p2", "Acceptance +0.600"),
    ]
    assert [(t.label, t.note, t.text) for t in section.examples[0].texts] == [
        ("base", "acceptance 0.900", "p1 one two three"),
        ("tuned", "acceptance 0.100", "p1 one two one two one two"),
    ]
    assert "worse on 2 prompts, better on 2, the same on 1." in section.lead
    assert "right of 0 tuned is better" in section.figures[0].caption


def test_without_comparison_or_outputs_there_is_no_such_section(inputs: ReportInputs, tmp_path: Path) -> None:
    assert changes_section(inputs._replace(outputs=()), SETTINGS) is None
    assert changes_section(inputs._replace(evaluation=None), SETTINGS) is None
    write_json(tmp_path / "evaluation" / "comparisons.json", [])
    assert changes_section(inputs, SETTINGS) is None


def test_variety_is_measured_on_the_texts_themselves(inputs: ReportInputs) -> None:
    """Base: 8 words a prompt, 7 of them different; tuned: 14 and 3. Two samples alike have a self-BLEU of 100."""
    section = diversity_section(inputs, SETTINGS)
    assert section is not None
    (table,) = section.tables
    column = {name: n for n, name in enumerate(table.columns)}
    cells = {row[0]: row for row in table.rows}
    assert cells["base"][column["distinct_1"]][0] == pytest.approx(7 / 8)  # type: ignore[index]
    assert cells["tuned"][column["distinct_1"]][0] == pytest.approx(3 / 14)  # type: ignore[index]
    assert cells["tuned"][column["self_bleu"]][0] == pytest.approx(100)  # type: ignore[index]
    assert [figure.title for figure in section.figures][:2] == ["Distinct-1 against base", "Distinct-2 against base"]
    assert "Self-BLEU against base" in [figure.title for figure in section.figures]
    assert table.caption.startswith("2 samples per prompt of each system.")


def test_a_system_with_one_text_does_not_set_the_number_of_samples_for_all(
    inputs: ReportInputs, tmp_path: Path
) -> None:
    human = (Output(prompt, f"say {prompt}", "well", "human") for prompt in ACCEPTANCE)
    write_jsonl(tmp_path / "human.jsonl", human)
    section = diversity_section(inputs._replace(outputs=[*inputs.outputs, tmp_path / "human.jsonl"]), SETTINGS)
    assert section is not None
    assert [row[0] for row in section.tables[0].rows] == ["base", "tuned"]
    assert section.tables[0].caption.endswith("Left out, with one text per prompt: human.")


def test_single_samples_have_no_self_bleu(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "one.jsonl", (Output(p, "say", "a b c", "base") for p in ACCEPTANCE))
    section = diversity_section(ReportInputs(outputs=[tmp_path / "one.jsonl"]), SETTINGS)
    assert section is not None
    assert "self_bleu" not in section.tables[0].columns
    assert section.figures == ()


def test_outputs_for_other_prompts_are_said_to_be_incomparable(inputs: ReportInputs, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "other.jsonl", [Output("q", "say", "a", "other", sample=k) for k in (0, 1)])
    section = diversity_section(inputs._replace(outputs=[*inputs.outputs, tmp_path / "other.jsonl"]), SETTINGS)
    assert section is not None
    assert re.match(r"Not measured: System base has no output for 1 of 6 prompts", section.lead)
