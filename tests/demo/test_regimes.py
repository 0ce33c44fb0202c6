"""The panel's regimes: the truth is what the votes say in the mean, and each regime is what its name says."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit

from accord.data.prepared import load_prepared
from accord.demo.pack import demo_items
from accord.demo.panel import panel_acceptance
from accord.demo.regimes import REGIMES, Regime, Truth, main, regime_items, regime_logits
from accord.json_files import read_jsonl


def votes_of(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of 60 votes each, true acceptance, probability of an accepting vote."""
    items, truths = regime_items(name, seed=1, n_votes=60)
    shares = [np.mean([vote.label == "acceptable" for vote in item.annotations]) for item in items]
    return np.array(shares), np.array([t.acceptance for t in truths]), np.array([t.vote_share for t in truths])


@pytest.mark.parametrize("name", REGIMES)
def test_the_truth_is_what_the_votes_say_in_the_mean(name: str) -> None:
    """Every item is judged by all 60: shares differ from their expectation as 60 coins do, and no more."""
    shares, acceptance, vote_share = votes_of(name)
    assert acceptance.mean() == pytest.approx(REGIMES[name].mean_acceptance, abs=1e-6)
    noise = shares - vote_share
    assert abs(noise.mean()) < 4 * 0.5 / np.sqrt(60 * len(shares))
    assert np.mean(noise**2) <= 1.3 * np.mean(vote_share * (1 - vote_share)) / 60
    flip = REGIMES[name].flip_rate
    np.testing.assert_allclose(vote_share, (1 - flip) * acceptance + flip * (1 - acceptance))


def test_only_noisy_annotators_slip() -> None:
    assert {name: regime.flip_rate for name, regime in REGIMES.items() if regime.flip_rate} == {"noisy_consensus": 0.15}
    shares, acceptance, _ = votes_of("noisy_consensus")
    assert shares[acceptance > 0.99].mean() == pytest.approx(0.85, abs=0.02)
    assert np.mean(np.abs(acceptance - 0.5) > 0.4) > 0.6


def test_the_untouched_panel_by_hand() -> None:
    """Without a shift the logits are the panel's own: the shift that keeps the mean acceptance is 0."""
    items = demo_items(0)[:6]
    own = np.stack(
        [panel_acceptance(item.prompt[0].content, item.completion) for item in items]  # type: ignore[union-attr]
    )
    found = regime_logits(Regime(mean_acceptance=float(own.mean())), items, seed=0)
    np.testing.assert_allclose(expit(found), own, atol=1e-9)


def test_of_one_mind_all_annotators_agree_and_half_of_the_variance_is_hidden() -> None:
    items = demo_items(0)
    consensus = regime_logits(REGIMES["noisy_consensus"], items, seed=0)
    assert np.ptp(consensus, axis=1).max() < 1e-9
    plain = regime_logits(REGIMES["balanced"], items, seed=0).mean(axis=1)
    hidden = regime_logits(REGIMES["half_hidden"], items, seed=0).mean(axis=1)
    assert np.var(hidden - plain) / np.var(plain) == pytest.approx(1.0, abs=0.15)
    assert np.corrcoef(plain, hidden)[0, 1] ** 2 == pytest.approx(0.5, abs=0.08)


def test_folders_are_read_like_anybodys_items(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--output-dir", str(tmp_path), "--seed", "3"])
    printed = capsys.readouterr().out.split()
    assert printed == [str(tmp_path / name / "items.jsonl") for name in REGIMES]
    items, scheme = load_prepared(tmp_path / "imbalanced" / "items.jsonl")
    truths = list(read_jsonl(tmp_path / "imbalanced" / "truth.jsonl", Truth))
    assert scheme.acceptable == ("acceptable",)
    assert [item.id for item in items] == [truth.id for truth in truths]
    assert all(len({vote.annotator for vote in item.annotations}) == 16 for item in items)
    again, _ = regime_items("imbalanced", seed=3)
    assert items == again
    assert items != regime_items("imbalanced", seed=4)[0]
    assert logit(np.mean([truth.acceptance for truth in truths])) == pytest.approx(logit(0.8))
