"""A tiny study end to end, its resume, and its judgement of a head by hand."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import logit

import accord.recovery.simulation as simulation
from accord.config import build_settings, read_config
from accord.errors import ConfigError
from accord.json_files import read_json, read_jsonl
from accord.preference.head import fit_objectives
from accord.preference.reading import Reading
from accord.recovery.settings import Contender, SimulatedCell, SimulationSettings
from accord.recovery.simulated_items import SimulatedItems
from accord.recovery.simulation import cell_items, check_simulation, judge, plan_tasks, run_simulation
from accord.recovery.simulation_tables import Outcome

CONFIG = Path(__file__).parents[2] / "configs" / "simulation.yaml"
TINY = SimulationSettings(
    conditions=("base", "sharp+noisy15"),
    sizes=(24, 40),
    more=(SimulatedCell("base", 40, 1, 1), SimulatedCell("consensus", 40)),
    contenders=(
        Contender("votes", "votes"),
        Contender("dpm_em", "dpm_em", through_slips=False),
        Contender("beta_binomial", "beta_binomial"),
    ),
    n_seeds=2,
    n_test=30,
    max_steps=4,
    eval_every=2,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_simulation(tmp_path_factory.mktemp("study") / "out", TINY)


def test_every_contender_is_judged_on_every_cell_it_can_learn_from(study: Path) -> None:
    """Single votes and estimates of the share say nothing to beta_binomial."""
    rows = list(read_jsonl(study / "runs.jsonl", Outcome))
    found = {(row.cell, row.contender, row.seed) for row in rows}
    everywhere = [cell.name for cell in TINY.cells]
    several = [cell.name for cell in TINY.study_cells]
    assert found == {
        (cell, name, seed)
        for name, cells in (("votes", everywhere), ("dpm_em", everywhere), ("beta_binomial", several))
        for cell in cells
        for seed in (0, 1)
    }
    assert len(rows) == len(found)
    assert {(m["system"], m["n"]) for m in read_json(study / "results.json")} == {
        (contender.name, 2) for contender in TINY.contenders
    }


def test_the_page_holds_counts_and_tables(study: Path) -> None:
    page = (study / "simulation.md").read_text(encoding="utf-8")
    assert "of 4 cells, dpm_rq in 0" in page
    assert "base/40/1" in page
    assert "posterior share, q and κ(x) of beta_binomial" in page


def test_an_interrupted_study_ends_the_same(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the fourth of six cells: the first three are not trained again."""
    calls = 0
    original = fit_objectives

    def killed(*args, **kwargs):  # type: ignore[no-untyped-def]
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(simulation, "fit_objectives", killed)
    with pytest.raises(KeyboardInterrupt):
        run_simulation(tmp_path / "out", TINY)
    assert run_simulation(tmp_path / "out", TINY) == tmp_path / "out"
    assert calls == 4 + 3
    for name in ("runs.jsonl", "results.json", "simulation.md"):
        assert (tmp_path / "out" / name).read_bytes() == (study / name).read_bytes()


def test_items_to_learn_from_to_select_on_and_to_be_judged_on_are_apart() -> None:
    items = cell_items(SimulatedCell("base", 40), 0, n_test=30)
    assert [len(part.truth) for part in items] == [40, 10, 30]
    everything = np.concatenate([part.features for part in items])
    assert len(np.unique(everything, axis=0)) == 80
    again = cell_items(SimulatedCell("base", 40), 0, n_test=30)
    np.testing.assert_array_equal(items.test.votes, again.test.votes)
    assert not np.array_equal(items.test.truth, cell_items(SimulatedCell("base", 40), 1, n_test=30).test.truth)


def test_a_judgement_by_hand() -> None:
    """Shares .8 and .3, q .7 and .5, votes 3 of 4 and 0 of 2, nobody slips.

    Squared error ((.1)² + (.2)²)/2 = .025; raw shares ((.05)² + (.3)²)/2 = .04625; smoothed by .1 they are 3.1/4.2 and
    .1/2.2. KL is .8 log(.8/.7) + .2 log(.2/.3) and .3 log(.3/.5) + .7 log(.7/.5), averaged.
    """
    truth, q = np.array([0.8, 0.3]), np.array([0.7, 0.5])
    items = SimulatedItems(np.zeros((2, 1)), truth, truth, np.array([[1.0, 3.0], [2.0, 0.0]]))
    found = judge(Reading(logit(q), None, None), items, smoothing=0.1, is_dpm=True)
    assert found["mse"] == found["vote_mse"] == pytest.approx(0.025)
    assert found["share_mse"] == pytest.approx(0.04625)
    assert found["prior_mse"] == pytest.approx(((0.8 - 3.1 / 4.2) ** 2 + (0.3 - 0.1 / 2.2) ** 2) / 2)
    kl = 0.8 * np.log(8 / 7) + 0.2 * np.log(2 / 3) + 0.3 * np.log(0.6) + 0.7 * np.log(1.4)
    assert found["kl"] == pytest.approx(kl / 2)
    entropy = -np.sum(truth * np.log(truth) + (1 - truth) * np.log(1 - truth))
    assert found["log_loss"] == pytest.approx((kl + entropy) / 2)
    assert found["spearman"] == pytest.approx(1.0)
    # q̄ = .6: the odds of r are those of p times those of q, over those of q̄
    odds = np.array([3.1 / 1.1, 0.1 / 2.1]) * q / (1 - q) / (0.6 / 0.4)
    assert found["r_mse"] == pytest.approx(np.mean((odds / (1 + odds) - truth) ** 2))


def test_a_denoiser_is_judged_on_what_it_says_of_truth_and_of_votes() -> None:
    """q = ρ = .9 and .2; votes go through slips of .1: .82 and .26, which (1 − 2ε) q + ε predicts exactly."""
    truth = np.array([0.9, 0.2])
    items = SimulatedItems(np.zeros((2, 1)), truth, 0.8 * truth + 0.1, np.array([[1.0, 3.0], [2.0, 0.0]]))
    latent = logit(truth)
    found = judge(Reading(logit(items.vote_share), latent, None), items, smoothing=0.1, is_dpm=False)
    assert found["mse"] == pytest.approx(0.0, abs=1e-20)
    assert found["vote_mse"] == pytest.approx(0.0, abs=1e-20)
    assert "r_mse" not in found
    plain = judge(Reading(latent, None, None), items, smoothing=0.1, is_dpm=False)
    assert plain["vote_mse"] == pytest.approx((0.08**2 + 0.06**2) / 2)


def test_intervals_cover_when_the_model_is_right() -> None:
    """ρ ~ Beta(6μ, 6(1 − μ)) and q = μ, the true prior: m is found to be 6 and nine of ten intervals hold ρ."""
    rng = np.random.default_rng(2)
    mean = rng.uniform(0.1, 0.9, size=20_000)
    truth = rng.beta(6 * mean, 6 * (1 - mean))
    n_votes = rng.integers(2, 5, size=len(mean))
    accepting = rng.binomial(n_votes, truth)
    votes = np.stack([n_votes - accepting, accepting], axis=1).astype(np.float64)
    items = SimulatedItems(np.zeros((len(mean), 1)), truth, truth, votes)
    found = judge(Reading(logit(mean), None, np.full(len(mean), 6.0)), items, smoothing=0.1, is_dpm=False)
    assert found["strength"] == pytest.approx(6.0, rel=0.1)
    assert found["coverage"] == pytest.approx(0.9, abs=0.01)
    assert found["kappa_coverage"] == pytest.approx(0.9, abs=0.01)
    assert found["kappa_posterior_mse"] == pytest.approx(found["posterior_mse"], rel=0.02)
    assert found["posterior_mse"] < min(found["mse"], found["share_mse"])


def test_single_votes_have_no_interval() -> None:
    items = SimulatedItems(np.zeros((2, 1)), np.array([0.2, 0.6]), np.array([0.2, 0.6]), np.eye(2))
    found = judge(Reading(np.zeros(2), None, None), items, smoothing=0.1, is_dpm=False)
    assert np.isnan([found[name] for name in ("strength", "coverage", "posterior_mse", "spearman")]).all()


def test_the_configuration_that_ships_is_the_study() -> None:
    settings = build_settings(SimulationSettings, read_config(CONFIG), where="simulation.yaml")
    check_simulation(settings)
    assert len(settings.study_cells) == 24
    assert settings.proper == ("votes", "soft_kl", "soft_mse")
    names = {contender.name for contender in settings.contenders}
    assert {*settings.proper, *settings.entered_later} <= names
    assert {c.objective for c in settings.contenders} >= {"dpm_qr", "dpm_rq", "dpm_em", "dpm_free_energy", "majority"}
    assert len(list(plan_tasks(settings))) > 24 * 5 * len(names)


def test_broken_ties_are_unacceptable() -> None:
    """At q = ¾: 2 of 4 votes cost the mean of both labels where ties are split, −log ¼ where they are broken."""
    votes, logits = torch.tensor([[2.0, 2.0], [1.0, 3.0]]), torch.tensor([[0.0, math.log(3.0)]] * 2)
    settings = replace(TINY, contenders=())
    losses = [
        simulation._head_objective(Contender("majority", "majority", ties_unacceptable=broken), settings)
        .loss(logits, votes)
        .loss.tolist()
        for broken in (False, True)
    ]
    assert losses[0] == pytest.approx([-(math.log(0.25) + math.log(0.75)) / 2, -math.log(0.75)])
    assert losses[1] == pytest.approx([-math.log(0.25), -math.log(0.75)])


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"conditions": ("basic",)}, "condition is 'basic'; expected one of base, imbalanced,"),
        ({"more": (SimulatedCell("base", 9, 3, 2),)}, "votes are 3 to 2; expected 1 or more, the lower one first"),
        ({"contenders": (Contender("a", "votes"), Contender("a", "soft_kl"))}, "contenders are named a, a; expected"),
        ({"contenders": (Contender("a", "vote"),)}, "objective is 'vote'; expected one of dpm_qr"),
    ],
)
def test_what_cannot_be_run_is_refused_at_once(changed: dict[str, object], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        check_simulation(replace(TINY, **changed))  # type: ignore[arg-type]


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "conditions: [base]\nsizes: [24]\nn_seeds: 1\nn_test: 20\nmax_steps: 2\n"
        "contenders: [{name: votes, objective: votes}]\n"
    )
    simulation.main([str(config), "--output-dir", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "a proper loss (votes, soft_kl, soft_mse) has the lowest squared error" in printed
    assert (tmp_path / "out" / "manifest.json").is_file()
