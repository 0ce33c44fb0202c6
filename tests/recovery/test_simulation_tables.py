"""Who is best in how many cells, by cases that can be counted by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from accord.recovery.settings import Contender, SimulationSettings
from accord.recovery.simulation_tables import (
    Figures,
    Outcome,
    Place,
    best_contender,
    count_best,
    figures_of,
    interval_text,
    markdown_table,
    number_text,
    proper_margins,
    seed_interval,
    simulation_measurements,
    simulation_page,
    study_sentences,
)
from accord.statistics.resampling import Interval

SETTINGS = SimulationSettings(
    conditions=("base", "sharp+noisy15"),
    sizes=(100, 400),
    contenders=tuple(Contender(name, name) for name in ("votes", "soft_kl", "dpm_em", "dpm_rq", "beta_binomial")),
    proper=("votes", "soft_kl"),
    entered_later=("beta_binomial",),
)
SELECTED = {
    "base/100/2-4": (0.3, 0.2, 0.4, 0.5, 0.1),
    "sharp+noisy15/100/2-4": (0.2, 0.3, 0.1, 0.5, 0.4),
    "base/400/2-4": (0.1, 0.2, 0.3, 0.4, np.nan),
    "sharp+noisy15/400/2-4": (0.2, 0.2, 0.3, 0.4, 0.5),
}


def figures() -> Figures:
    """Selected: as above. Last: dpm_em is best under sharp+noisy15 at 400, votes everywhere else."""
    names = [contender.name for contender in SETTINGS.contenders]
    found = {}
    for cell, values in SELECTED.items():
        last = (0.2, 0.3, 0.1 if cell == "sharp+noisy15/400/2-4" else 0.4, 0.5, 0.05)
        for checkpoint, row in (("selected", values), ("last", last)):
            intervals = [Interval(value, np.nan, np.nan) for value in row]
            found[Place(cell, checkpoint, "mse")] = dict(zip(names, intervals, strict=True))
    return found


def test_the_best_is_the_lowest_defined_mean_and_the_first_on_a_tie() -> None:
    found = {name: Interval(value, np.nan, np.nan) for name, value in {"a": 0.2, "b": 0.2, "c": np.nan}.items()}
    assert best_contender(found, ("b", "a", "c")) == "b"
    assert best_contender(found, ("c", "absent")) is None
    assert best_contender({**found, "d": Interval(0.3, np.nan, np.nan)}, ("a", "d"), highest=True) == "d"


def test_cells_are_counted_among_those_who_take_part() -> None:
    cells = SETTINGS.study_cells
    own_field = ("votes", "soft_kl", "dpm_em", "dpm_rq")
    counts = count_best(figures(), cells, own_field, metric="mse", checkpoint="selected")
    assert counts == {"soft_kl": 1, "dpm_em": 1, "votes": 2}
    with_all = count_best(figures(), cells, (*own_field, "beta_binomial"), metric="mse", checkpoint="selected")
    assert with_all == {"beta_binomial": 1, "dpm_em": 1, "votes": 2}


def test_the_sentences_by_hand() -> None:
    first, second, last = study_sentences(figures(), SETTINGS)
    assert first == (
        "Among votes, soft_kl, dpm_em, dpm_rq: a proper loss (votes, soft_kl) has the lowest squared error at the "
        "selected checkpoint in 3 of 4 cells, dpm_rq in 0; others: dpm_em in 1."
    )
    assert "in 2 of 4 cells, dpm_rq in 0; others: beta_binomial in 1, dpm_em in 1." in second
    assert last == "Under sharp+noisy15 the lowest squared error at the last checkpoint: votes at 100, dpm_em at 400."


def test_every_rq_counts_as_rq() -> None:
    """Two variants of one objective must not hide behind each other."""
    field = (Contender("dpm_rq", "dpm_rq"), Contender("dpm_rq chunk:8", "dpm_rq"), Contender("votes", "votes"))
    settings = SimulationSettings(conditions=("base",), sizes=(9, 10), contenders=field)
    rows = {"base/9/2-4": (0.1, 0.2, 0.3), "base/10/2-4": (0.2, 0.1, 0.3)}
    found = {
        Place(cell, "selected", "mse"): {c.name: Interval(v, np.nan, np.nan) for c, v in zip(field, row, strict=True)}
        for cell, row in rows.items()
    }
    assert "dpm_rq in 2;" in study_sentences(found, settings)[0]


def test_margins_are_paired_by_seed() -> None:
    """dpm_em less votes per seed: .1, .3; scipy's interval of these. soft_kl and dpm_rq are behind."""
    errors = {"votes": (0.2, 0.3), "soft_kl": (0.4, 0.3), "dpm_em": (0.3, 0.6), "dpm_rq": (0.9, 0.9)}
    outcomes = [
        Outcome("base/100/2-4", name, seed, {"mse": values[seed]}, {"mse": 0.0}, best_step=0)
        for seed in (1, 0)
        for name, values in errors.items()
    ]
    settings = replace(SETTINGS, conditions=("base",), sizes=(100,))
    (margin,) = proper_margins(outcomes, settings)
    assert margin[:3] == ("base/100/2-4", "votes", "dpm_em")
    assert margin.difference == pytest.approx((0.2, *stats.t.interval(0.95, 1, loc=0.2, scale=0.1)))
    assert interval_text(Interval(-0.25, np.nan, np.nan)) == "-.2500"


def test_an_interval_for_new_seeds() -> None:
    """scipy's t interval; seeds without a figure are left out; one seed has no interval."""
    values = np.array([0.2, 0.5, 0.3, np.nan])
    expected = stats.t.interval(0.95, 2, loc=1 / 3, scale=stats.sem([0.2, 0.5, 0.3]))
    assert seed_interval(values) == pytest.approx((1 / 3, *expected))
    assert seed_interval(values[:1])[0] == 0.2
    assert np.isnan(seed_interval(values[:1])[1:]).all()
    assert np.isnan(seed_interval(values[3:])).all()


def test_measurements_keep_cell_checkpoint_and_metric_apart() -> None:
    outcomes = [
        Outcome("base/9/2-4", "votes", seed, {"mse": 0.1 + seed, "kl": None}, {"mse": 2.0}, best_step=0)
        for seed in (0, 1)
    ]
    found = figures_of(simulation_measurements(outcomes))
    assert found[Place("base/9/2-4", "selected", "mse")]["votes"].value == pytest.approx(0.6)
    assert found[Place("base/9/2-4", "last", "mse")]["votes"] == (2.0, 2.0, 2.0)
    assert np.isnan(found[Place("base/9/2-4", "selected", "kl")]["votes"].value)


def test_numbers_and_tables_as_people_read_them() -> None:
    shown = [number_text(Interval(value, 0, 0)) for value in (0.01234, 1.5, 123.44, -0.5, np.nan)]
    assert shown == [".0123", "1.5000", "123.4", "-.5000", "–"]
    assert number_text(None) == "–"
    assert markdown_table(["", "x"], [["a", "1"]]) == "|  | x |\n| --- | --- |\n| a | 1 |"


def test_the_page_marks_the_best_of_each_checkpoint() -> None:
    metrics = ("mse", "spearman", "kl", "log_loss")
    outcomes = [
        Outcome("base/9/2-4", name, seed, dict.fromkeys(metrics, value), dict.fromkeys(metrics, 1 - value), best_step=0)
        for name, value in (("votes", 0.25), ("dpm_rq", 0.75))
        for seed in (0, 1)
    ]
    settings = SimulationSettings(
        conditions=("base",), sizes=(9,), contenders=(Contender("votes", "votes"), Contender("dpm_rq", "dpm_rq"))
    )
    margins, squared, correlated = simulation_page(outcomes, settings).split("## ")[1:4]
    assert "surely lower in 1 of 1 cells" in margins
    assert "| base/9/2-4 | votes | dpm_rq | .5000 [.5000, .5000] |" in margins
    assert "| votes | **.2500** / .7500 |" in squared
    assert "| dpm_rq | .7500 / **.2500** |" in squared
    assert "| votes | .2500 / **.7500** |" in correlated
