"""Ratings of people as metrics: means by text, two-way intervals, agreement, the preference model against them."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accord.errors import ConfigError, DataError
from accord.evaluation.evaluate import evaluate_stage
from accord.evaluation.rated import Scale, read_ratings
from accord.evaluation.ratings import (
    RatingResampling,
    aspects,
    compare_ratings,
    describe_scales,
    measure_ratings,
    prompt_means,
)
from accord.evaluation.ratings_model import ALL, measure_model
from accord.evaluation.settings import EvaluateSettings
from accord.json_files import read_json
from accord.rating.forms import load_form, write_form

HOW = RatingResampling(n_resamples=400, level=0.95, seed=0)
Row = dict[str, Any]


def text(prompt: str, system: str, answers: Sequence[tuple[str, str, str]], **more: Any) -> Row:
    """One line of ratings.jsonl; answers are (annotator, label, question)."""
    annotations = [{"annotator": a, "label": label, "question": q} for a, label, q in answers]
    row = {"id": f"{prompt}#{system}#0#0", "prompt": prompt, "completion": f"{system} says {prompt}", "system": system}
    return {**row, "prompt_id": prompt, "annotations": annotations, **more}


def write(folder: Path, rows: Sequence[Row], *, form: str | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "ratings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if form is not None:
        write_form(load_form(form), folder / "form.yaml")
    return folder


def simulated(n_prompts: int, *, gain: float, seed: int = 0) -> list[Row]:
    """Three annotators rate two systems from 1 to 5; `better` lies `gain` above `base`."""
    rng = np.random.default_rng(seed)
    rows = []
    for prompt in range(n_prompts):
        level = rng.normal(3.0, 0.6)
        for system, shift in (("base", 0.0), ("better", gain)):
            marks = np.clip(np.round(level + shift + rng.normal(0, 0.5, size=3)), 1, 5)
            answers = [(f"a{number}", f"{mark:.0f}", "overall") for number, mark in enumerate(marks)]
            rows.append(text(f"p{prompt}", system, answers))
    return rows


def test_every_text_counts_once_however_many_rated_it(tmp_path: Path) -> None:
    """base: texts of mean 4 (one rating) and (1 + 2 + 3)/3 = 2, mean 3; the mean of the four ratings would be 2.5."""
    rows = [
        text("p1", "base", [("a", "4", "overall")]),
        text("p2", "base", [("a", "1", "overall"), ("b", "2", "overall"), ("c", "3", "overall")]),
    ]
    found = aspects(read_ratings([write(tmp_path / "r", rows)]))
    level = measure_ratings(found, how=HOW)[0]
    assert (level.name, level.system, level.n) == ("overall", "base", 2)
    assert level.value == pytest.approx(3.0)
    assert level.signature == "rating:overall|1..4|annotators:3|ci:bootstrap-400@0.95/prompt*annotator:3"
    assert list(prompt_means(found)) == [("p1", "base", "overall", 4.0), ("p2", "base", "overall", 2.0)]


def test_a_difference_is_paired_by_prompt_and_its_sign_turns_with_the_order(tmp_path: Path) -> None:
    ratings = read_ratings([write(tmp_path / "r", simulated(40, gain=1.0))])
    found = aspects(ratings)
    (forth,), _ = compare_ratings(found, [("better", "base")], how=HOW)
    (back,), (row,) = compare_ratings(found, [("base", "better")], how=HOW)
    assert forth.difference == pytest.approx(-back.difference)
    assert 0.7 < forth.difference < 1.1
    assert forth.low > 0
    assert forth.p < 0.02
    assert forth.effect > 1.0
    assert (row.n, row.system) == (40, "base - better")
    assert forth.test == "two-way-400"


def test_one_prompt_of_a_system_gives_it_no_interval(tmp_path: Path) -> None:
    """Others were rated on 20 prompts: that says nothing of how this system does on new ones."""
    rows = [row for row in simulated(20, gain=1.0) if row["system"] == "base" or row["prompt_id"] == "p0"]
    found = {row.system: row for row in measure_ratings(aspects(read_ratings([write(tmp_path / "r", rows)])), how=HOW)}
    assert found["better"].n == 1
    assert math.isnan(found["better"].low)
    assert found["base"].low < found["base"].value < found["base"].high


def test_the_effect_is_in_units_of_groups(tmp_path: Path) -> None:
    """Differences 1, 1 in one group and 3, 3 in the other: two groups of mean 1 and 3, d = 2, sd √2."""
    rows = []
    for prompt, (group, gain) in enumerate([("g1", 1), ("g1", 1), ("g2", 3), ("g2", 3)]):
        rows += [text(f"p{prompt}", "base", [("a", "1", "overall")], group=group)]
        rows += [text(f"p{prompt}", "better", [("a", str(1 + gain), "overall")], group=group)]
    (row,), _ = compare_ratings(aspects(read_ratings([write(tmp_path / "r", rows)])), [("better", "base")], how=HOW)
    assert row.effect == pytest.approx(2 / math.sqrt(2))


def test_without_a_difference_none_is_found(tmp_path: Path) -> None:
    ratings = read_ratings([write(tmp_path / "r", simulated(40, gain=0.0))])
    (row,), _ = compare_ratings(aspects(ratings), [("better", "base")], how=HOW)
    assert row.low < 0 < row.high
    assert row.p > 0.05


def test_new_annotators_widen_the_interval(tmp_path: Path) -> None:
    """Two annotators who differ by two points: over prompts alone the mean would look certain."""
    rows = [text(f"p{n}", "base", [("mild", "5", "overall"), ("harsh", "3", "overall")]) for n in range(30)]
    level = measure_ratings(aspects(read_ratings([write(tmp_path / "r", rows)])), how=HOW)[0]
    assert (level.value, level.low, level.high) == (4.0, 3.0, 5.0)


def test_a_system_with_one_annotator_of_several_gets_no_test(tmp_path: Path) -> None:
    """Every third resample or so is without the one who rated it; what is left would look too sure."""
    rows = []
    for number in range(20):
        rows.append(text(f"p{number}", "base", [(name, "2", "overall") for name in "abc"]))
        rows.append(text(f"p{number}", "better", [("a", str(3 + number % 2), "overall")]))
    ratings = read_ratings([write(tmp_path / "r", rows)])
    (row,), _ = compare_ratings(aspects(ratings), [("better", "base")], how=HOW)
    assert row.difference == pytest.approx(1.5)
    assert np.isnan([row.low, row.high, row.p]).all()


def test_the_order_of_rows_and_ratings_changes_nothing(tmp_path: Path) -> None:
    rows = simulated(12, gain=0.5)
    shuffled = [{**row, "annotations": row["annotations"][::-1]} for row in rows[::-1]]
    measured = [
        {
            (row.system, row.name): row
            for row in measure_ratings(aspects(read_ratings([write(tmp_path / n, r)])), how=HOW)
        }
        for n, r in (("a", rows), ("b", shuffled))
    ]
    for key, row in measured[0].items():
        assert (row.value, row.n) == pytest.approx((measured[1][key].value, measured[1][key].n))
        assert (row.low, row.high) == pytest.approx((measured[1][key].low, measured[1][key].high))


def test_the_form_gives_order_shares_and_meaning(tmp_path: Path) -> None:
    """global_consensus: "1" is under 1 %, "3" about half; well_formedness is a share of yes."""
    answers = [("a", "yes", "well_formedness"), ("b", "no", "well_formedness"), ("a", "3", "global_consensus")]
    ratings = read_ratings([write(tmp_path / "r", [text("p", "base", answers)], form="rule-of-thumb")])
    assert [scale.name for scale in ratings.scales] == ["well_formedness", "global_consensus"]
    found = {row.name: row.value for row in measure_ratings(aspects(ratings), how=HOW)}
    assert found["well_formedness"] == 0.5
    assert found["global_consensus"] == 3.0
    assert found["global_consensus_share"] == pytest.approx(0.5, abs=0.05)


def test_without_a_form_numbers_are_a_scale_yes_a_share_and_names_have_no_mean(tmp_path: Path) -> None:
    answers = [("a", "10", "q1"), ("b", "2", "q1"), ("a", "yes", "q2"), ("a", "rude", "q3"), ("b", "kind", "q3")]
    ratings = read_ratings([write(tmp_path / "r", [text("p", "base", answers)])])
    assert ratings.scales[0] == Scale("q1", ("2", "10"), {"2": 2.0, "10": 10.0}, {}, "ordinal")
    assert [row.name for row in measure_ratings(aspects(ratings), how=HOW)] == ["q1", "q2"]
    assert [scale.labels for scale in describe_scales(ratings, how=HOW)] == [
        ("2", "10"),
        ("no", "yes"),
        ("kind", "rude"),
    ]


def test_distributions_and_agreement(tmp_path: Path) -> None:
    rows = [
        text("p1", "base", [("a", "1", "overall"), ("b", "1", "overall")]),
        text("p2", "base", [("a", "5", "overall"), ("b", "5", "overall")]),
        text("p1", "better", [("a", "4", "overall"), ("b", "4", "overall")]),
    ]
    (scale,) = describe_scales(read_ratings([write(tmp_path / "r", rows, form="emotional-support")]), how=HOW)
    assert scale.counts == {"base": [2, 0, 0, 0, 2], "better": [0, 0, 0, 2, 0]}
    assert (scale.alpha, scale.n_ratings, scale.n_annotators, scale.level) == (1.0, 6, 2, "ordinal")


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([text("p", "base", [])], "no ratings. Expected texts with annotations"),
        ([text("p", "base", [("a", "1", "q")]), text("p", "base", [("b", "1", "q")])], "comes twice"),
        ([text("p", "base", [("a", "1", "q"), ("a", "2", "q")])], "annotator a answers q twice"),
        ([text("p", "a - b", [("a", "1", "q")])], 'Expected a name without " - "'),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, rows: list[Row], error: str) -> None:
    with pytest.raises(DataError, match=error):
        read_ratings([write(tmp_path / "r", rows)])


def test_labels_and_questions_outside_the_form_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="label '6' of overall is not one of 1, 2, 3, 4, 5"):
        read_ratings([write(tmp_path / "r", [text("p", "b", [("a", "6", "overall")])], form="emotional-support")])
    with pytest.raises(DataError, match="question 'warmth' is not in"):
        read_ratings([write(tmp_path / "r", [text("p", "b", [("a", "1", "warmth")])], form="emotional-support")])


def test_two_studies_with_other_questions_are_not_mixed(tmp_path: Path) -> None:
    first = write(tmp_path / "a", [text("p", "b", [("a", "1", "overall")])], form="emotional-support")
    second = write(tmp_path / "b", [text("q", "b", [("a", "yes", "acceptable")])], form="acceptable")
    with pytest.raises(ConfigError, match="asks other questions"):
        read_ratings([first, second])


# -- the stage ----------------------------------------------------------------------------------------------------


def test_ratings_alone_become_a_table(tmp_path: Path) -> None:
    folder = write(tmp_path / "r", simulated(30, gain=1.0), form="emotional-support")
    settings = EvaluateSettings(baseline="base", n_resamples=200)
    done = evaluate_stage([], output_dir=tmp_path / "out", settings=settings, seed=0, ratings=[folder])
    table = (done / "table.md").read_text(encoding="utf-8")
    assert "Ratings are those of these 3 annotators, who were resampled too." in table
    assert "two-sided paired bootstrap (400 resamples of prompts and annotators together)" in table
    assert "| better - base | overall |" in table
    assert "†" in table
    document = read_json(done / "ratings.json")
    assert [scale["name"] for scale in document["scales"]] == ["overall"]
    assert document["model"] is None


def test_one_annotator_was_not_resampled(tmp_path: Path) -> None:
    ratings = write(tmp_path / "r", [text(f"p{n}", "base", [("a", str(n), "overall")]) for n in (1, 2, 4)])
    folder = evaluate_stage([], output_dir=tmp_path / "e", settings=EvaluateSettings(), seed=0, ratings=[ratings])
    table = (folder / "table.md").read_text(encoding="utf-8")
    assert "Ratings are those of this one annotator: intervals are for new prompts alone." in table


def test_ratings_stand_beside_the_metrics_of_the_outputs(tmp_path: Path) -> None:
    """One Holm correction over both: 2 comparisons x (length, overall)."""
    rows = simulated(10, gain=1.0)
    outputs = tmp_path / "outputs.jsonl"
    wanted = ("prompt", "completion", "system")
    lines = [json.dumps({"id": row["prompt_id"], **{key: row[key] for key in wanted}}) for row in rows]
    outputs.write_text("\n".join(lines) + "\n", encoding="utf-8")
    folder = write(tmp_path / "r", rows)
    settings = EvaluateSettings(metrics=("length",), baseline="base", n_resamples=100, n_randomisations=100)
    done = evaluate_stage([outputs], output_dir=tmp_path / "out", settings=settings, seed=0, ratings=[folder])
    comparisons = read_json(done / "comparisons.json")
    assert [row["name"] for row in comparisons] == ["length", "overall"]
    assert all(row["p_holm"] is None or row["p_holm"] >= row["p"] for row in comparisons)
    assert [row["test"] for row in comparisons] == ["ar-800", "two-way-800"]  # 20·2/0.05: both count both
    first = json.loads((done / "per_item.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert set(first) == {"id", "system", "length", "overall"}
    signed = [row["signature"] for row in read_json(done / "results.json") if " - " in row["system"]]
    assert all("|holm:" in signature for signature in signed)


# -- the preference model -------------------------------------------------------------------------------------------


def accept_all_but(share: Callable[[str], float]) -> Callable[..., np.ndarray]:
    return lambda pairs: np.array([share(completion) for _, completion in pairs])


def test_a_model_that_predicts_the_ratings_correlates_with_them(tmp_path: Path) -> None:
    shares = {f"p{n}": n / 9 for n in range(10)}
    rows = []
    for prompt, share in shares.items():
        n_yes = round(share * 9)
        answers = [(f"a{n}", "yes" if n < n_yes else "no", "acceptable") for n in range(9)]
        rows.append(text(prompt, "base", answers))
    ratings = read_ratings([write(tmp_path / "r", rows, form="acceptable")])
    right = measure_model(
        ratings, predict=accept_all_but(lambda c: shares[c.split()[-1]]), table=None, name="m", how=HOW
    )
    by_name = {(row.name, row.system): row for row in right.measurements}
    assert by_name["spearman_acceptable", ALL].value == pytest.approx(1.0)
    assert by_name["predicted_minus_acceptable", "base"].value == pytest.approx(0.0)
    curve = right.reliability["acceptable"]
    assert curve["predicted"] == pytest.approx(curve["observed"])
    blind = measure_model(ratings, predict=accept_all_but(lambda _: 0.9), table=None, name="m", how=HOW)
    by_name = {(row.name, row.system): row for row in blind.measurements}
    assert math.isnan(by_name["spearman_acceptable", ALL].value)
    assert by_name["predicted_minus_acceptable", "base"].value == pytest.approx(0.4)
    assert [row.value for row in blind.powered] == pytest.approx([0.5, 0.5])
