"""The report's section of ratings: distributions, agreement, the preference model."""

import json
from pathlib import Path

from accord.evaluation.evaluate import evaluate_stage
from accord.evaluation.settings import EvaluateSettings
from accord.report.document import ReportInputs
from accord.report.ratings import ratings_section
from accord.report.settings import ReportSettings


def evaluated(folder: Path) -> Path:
    rows = [
        {
            "id": f"{prompt}#{system}",
            "prompt_id": prompt,
            "prompt": "Hello?",
            "completion": f"{system} {prompt}",
            "system": system,
            "annotations": [
                {"annotator": "a", "label": mark, "question": "overall"},
                {"annotator": "b", "label": "3", "question": "overall"},
            ],
        }
        for prompt, marks in {"p1": "15", "p2": "24"}.items()
        for system, mark in zip(("base", "tuned"), marks, strict=True)
    ]
    path = folder / "ratings.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = EvaluateSettings(n_resamples=50)
    return evaluate_stage([], output_dir=folder / "evaluation", settings=settings, seed=0, ratings=[path])


def test_the_section_shows_how_answers_are_spread(tmp_path: Path) -> None:
    """base got 1, 3, 2, 3 and tuned 5, 3, 4, 3."""
    section = ratings_section(ReportInputs(evaluation=evaluated(tmp_path)), ReportSettings())
    assert section is not None
    (figure,) = section.figures
    assert figure.title == "overall"
    assert "base 4, tuned 4" in figure.caption
    assert all(label in figure.svg for label in ("base", "tuned", ">1<", ">5<"))
    (agreement,) = section.tables
    assert agreement.rows[0][:4] == ("overall", "ordinal", 8, 2)


def test_no_ratings_no_section(tmp_path: Path) -> None:
    assert ratings_section(ReportInputs(), ReportSettings()) is None
    assert ratings_section(ReportInputs(evaluation=tmp_path), ReportSettings()) is None
