"""What a preference model learns from: votes by class, consensus shares, anonymous counts; and how it is measured."""

from pathlib import Path

import numpy as np
import pytest

from accord.data.prepared import Prepared
from accord.data.schemes import SCHEMES
from accord.errors import ConfigError
from accord.preference.labelled import Consensus, LabelledItems, label_items
from accord.preference.measure import calibration_figures, constant_logits, held_out, measure, reliability
from accord.records import Annotation, Item, Split

GRADES = SCHEMES["abuse-levels"]


def item(name: str, split: Split, *labels: str, group: str | None = None) -> Item:
    annotations = tuple(Annotation(f"a{number}", label) for number, label in enumerate(labels))
    return Item(name, "Hello.", "Hi.", annotations=annotations, group=group, split=split)


GRADED = Prepared(
    [item("x", "train", "1", "-2", "0", group="g"), item("y", "dev", "-1", "-1"), item("z", "dev", "1", "-3")], GRADES
)


def labelled(prepared: Prepared = GRADED, *, by_label: bool = False, objective: str = "votes") -> LabelledItems:
    return label_items(prepared, annotators=(), by_label=by_label, objective=objective)


def test_grades_become_acceptance_or_stay_as_they_are() -> None:
    """Grades 0 and 1 are acceptable: x has 2 of 3 such votes, y none, z one of two."""
    binary, graded = labelled(), labelled(by_label=True)
    assert binary.classes == ("unacceptable", "acceptable")
    assert binary.votes.tolist() == [[1, 2], [2, 0], [1, 1]]
    assert graded.classes == GRADES.labels
    assert graded.votes.shape == (3, 5)
    for found in (binary, graded):
        assert found.n_acceptable.tolist() == [2, 0, 1]
        assert found.n_votes.tolist() == [3, 2, 2]
        assert found.clusters.tolist() == ["g", "y", "z"]
        assert found.rows("dev").tolist() == [1, 2]


def test_a_consensus_is_one_pseudo_vote_and_refused_where_counts_are_needed() -> None:
    """Each level counts as its interval's midpoint β: votes (1 − β, β)."""
    scheme = SCHEMES["global-consensus"]
    assert scheme.intervals is not None
    label = scheme.labels[0]
    beta = sum(scheme.intervals[label]) / 2
    prepared = Prepared([item("x", "train", label), item("y", "dev", label)], scheme)
    np.testing.assert_allclose(labelled(prepared, objective="soft_kl").votes, [[1 - beta, beta]] * 2)
    assert labelled(prepared, objective="votes").annotations is None
    for objective in ("majority", "beta_binomial", "votes_noise"):
        with pytest.raises(ConfigError, match=f"objective '{objective}' needs counts of votes, but label scheme"):
            labelled(prepared, objective=objective)


def drawn(prepared: Prepared, seed: int) -> np.ndarray:
    """The shares [N] that a consensus becomes."""
    consensus = Consensus("uniform", seed)
    return label_items(prepared, annotators=(), by_label=False, objective="soft_mse", consensus=consensus).votes[:, 1]


def test_a_consensus_can_be_drawn_inside_its_interval() -> None:
    """Grade 2 is 5 % to 25 %: a draw depends on the seed and the item, whatever else is there."""
    prepared = Prepared(
        [item(name, "dev", "2") for name in "xyz"] + [item("t", "train", "2")], SCHEMES["global-consensus"]
    )
    first, other = (drawn(prepared, seed) for seed in (1, 2))
    assert ((first > 0.05) & (first < 0.25)).all()
    assert len({*first, *other}) == 8
    np.testing.assert_array_equal(drawn(Prepared(prepared.items[1:], prepared.scheme), 1), first[1:])


def test_annotators_of_a_consensus_cannot_be_chosen() -> None:
    prepared = Prepared([item("x", "train", "2"), item("y", "dev", "4")], SCHEMES["global-consensus"])
    with pytest.raises(ConfigError, match=r'annotators is \["a0"\], but label scheme \'global-consensus\' estimates'):
        label_items(prepared, annotators=("a0",), by_label=False, objective="votes")


def test_anonymous_counts_are_votes_without_annotators() -> None:
    scheme = SCHEMES["acceptable"]
    items = [
        Item(split, "Hello.", "Hi.", votes={"acceptable": 812, "unacceptable": 204}, split=split)
        for split in ("train", "dev")
    ]
    found = labelled(Prepared(items, scheme))
    assert found.n_acceptable.tolist() == [812, 812]
    assert found.annotations is None
    assert held_out(found, "dev").item_index is None


def measured(logits: list[float]) -> dict[str, float]:
    data = held_out(labelled(), "dev")
    rows = measure(np.array(logits), data, system="votes", n_resamples=20, rng=np.random.default_rng(0))
    return {row.name: row.value for row in rows}


def test_measurements_by_hand() -> None:
    """Dev: y has votes (2, 0), z (1, 1); q = 0.25 and 0.5.

    Log-loss per vote (−2 log 0.75 − 2 log 0.5) / 4; Brier (2 · 0.0625 + 2 · 0.25) / 4; cross-entropy, mean over
    items, (−log 0.75 − log 0.5) / 2; Manhattan (2 · 0.25 + 0) / 2; ranks agree. z's votes are tied, so F1 is that of
    y alone.
    """
    found = measured([-np.log(3), 0.0])
    assert found["log_loss"] == pytest.approx((-2 * np.log(0.75) - 2 * np.log(0.5)) / 4)
    assert found["brier"] == pytest.approx(0.15625)
    assert found["cross_entropy"] == pytest.approx((-np.log(0.75) - np.log(0.5)) / 2, abs=1e-8)
    assert found["manhattan"] == pytest.approx(0.25)
    assert found["spearman"] == pytest.approx(1.0)
    assert found["ece"] == pytest.approx(0.125)
    assert found["ranking_accuracy"] == found["micro_f1"] == found["weighted_f1"] == 1.0


def test_certain_and_right_predictions_have_finite_figures() -> None:
    """The votes' own shares as predictions: 0 for y, ½ for z."""
    found = measured([-np.inf, 0.0])
    assert found["log_loss"] == pytest.approx(np.log(2) / 2)
    assert found["manhattan"] == 0.0


def test_intervals_are_by_group_and_annotator_where_annotators_are_known() -> None:
    data = held_out(labelled(), "dev")
    rows = measure(np.zeros(2), data, system="votes", n_resamples=20, rng=np.random.default_rng(0))
    signatures = {row.name: row.signature for row in rows}
    assert "group*annotator" in signatures["log_loss"]
    assert "split:dev" in signatures["log_loss"]
    unknown = data._replace(item_index=None)
    rows = measure(np.zeros(2), unknown, system="votes", n_resamples=20, rng=np.random.default_rng(0))
    assert "annotators unknown" in rows[0].signature
    assert [row.n for row in rows if row.name == "log_loss"] == [4]


def test_calibration_figures_and_reliability() -> None:
    data = held_out(labelled(), "dev")
    found = calibration_figures(np.array([-np.log(3), 0.0]), data)
    assert found["mean_predicted"] == pytest.approx(0.375)
    assert found["base_rate"] == pytest.approx(0.25)
    points = reliability(np.array([-np.log(3), 0.0]), data)
    assert [point["n"] for point in points] == [2.0, 2.0]
    assert [point["observed"] for point in points] == [0.0, 0.5]


def test_constant_baseline_predicts_the_share() -> None:
    np.testing.assert_allclose(1 / (1 + np.exp(-constant_logits(0.84, 3))), [0.84] * 3)


def test_settings_need_nothing_heavy() -> None:
    source = Path(__file__).parents[2] / "src" / "accord" / "preference" / "settings.py"
    imports = [line for line in source.read_text().splitlines() if line.startswith(("import", "from"))]
    assert imports == ["from dataclasses import dataclass", "from typing import Literal"]
