"""The rule of the verdict, on numbers made by hand."""

import numpy as np
import pytest

from accord.recovery.measure import Measured, Number
from accord.recovery.verdict import Verdict, compare, decide, mean_ranks

RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=400)


def number(value: float, *, spread: float = 0.001, df: int = 99) -> Number:
    """A number whose resamples stray by `spread` on their own, beside a noise that all numbers share."""
    own = np.random.default_rng(int(np.nan_to_num(value) * 1e6) % 2**31).normal(size=400)
    return Number(value, value + 0.05 * NOISE + spread * own, df)


def measured(**values: tuple[float, float, float]) -> Measured:
    """name -> log-loss, Brier, Spearman; "+" is written as "_with_"."""
    numbers = {}
    for name, of_metric in values.items():
        for metric, value in zip(("log_loss", "brier", "spearman"), of_metric, strict=True):
            numbers[metric, name.replace("_with_", "+")] = number(value)
        numbers["explained_gap", name.replace("_with_", "+")] = number(0.4)
    names = [name.replace("_with_", "+") for name in values]
    return Measured(numbers, {}, dict.fromkeys(names, 20), 100)


def verdict(by_keep: dict[int, Measured], *, question: str = "unseen", n_groups: int = 50) -> Verdict:
    baseline = "votes" if question == "unseen" else "votes+votes"
    compared = compare(question, by_keep, baseline=baseline)
    return decide(question, by_keep, compared, baseline=baseline, n_groups=n_groups)


def test_mean_ranks_by_hand() -> None:
    """Keep 1: log-loss votes 1, a 2, b 3; Brier a 1, votes and b tie at 2.5; Spearman b 1, votes 2, a undefined.
    Keep 2 has no baseline and is left out."""
    one = measured(constant=(0.1, 0.1, 0.9), votes=(0.3, 0.2, 0.5), a=(0.4, 0.1, np.nan), b=(0.5, 0.2, 0.6))
    two = measured(constant=(0.1, 0.1, 0.9), votes=(np.nan,) * 3, a=(0.1, 0.1, 0.9), b=(0.5, 0.2, 0.6))
    ranks = mean_ranks({1: one, 2: two}, baseline="votes")
    assert ranks == pytest.approx({"votes": (1 + 2.5 + 2) / 3, "a": (2 + 1 + 3) / 3, "b": (3 + 2.5 + 1) / 3})
    assert list(ranks) == ["votes", "a", "b"]


def test_a_sure_winner_is_used() -> None:
    better, worse = (0.40, 0.10, 0.8), (0.50, 0.20, 0.7)
    found = verdict({k: measured(constant=(0.6, 0.25, 0.0), votes=worse, soft_kl=better) for k in (1, 2)})
    assert (found.candidate, found.use, found.is_beaten) == ("soft_kl", "soft_kl", True)
    assert found.words[0].startswith(
        "Unseen text: use soft_kl. It has the lowest mean rank (1.0; votes 2.0) and a lower log-loss: −0.1000 [−0.10"
    )
    assert found.claims[0].baseline == "constant"
    assert "Unseen text: soft_kl explains 40%" in found.words[-1]


def test_a_winner_by_chance_is_not() -> None:
    found = verdict({1: measured(constant=(0.6, 0.25, 0.0), votes=(0.5, 0.20, 0.7), soft_kl=(0.4999, 0.19, 0.8))})
    assert (found.candidate, found.use, found.is_beaten) == ("soft_kl", "votes", False)
    assert "counts as noise" in found.words[0]


def test_a_winner_must_be_better_at_every_keep() -> None:
    constant, votes = (0.6, 0.25, 0.0), (0.5, 0.20, 0.7)
    clear = measured(constant=constant, votes=votes, soft_kl=(0.40, 0.19, 0.8))
    reverse = measured(constant=constant, votes=votes, soft_kl=(0.51, 0.19, 0.8))
    assert verdict({1: clear}).use == "soft_kl"
    assert verdict({1: clear, 2: clear, 3: reverse}).use == "votes"


def test_a_few_groups_prove_nothing() -> None:
    """AnnoMI's 216 turns are seven dialogues."""
    by_keep = {1: measured(constant=(0.6, 0.25, 0.0), votes=(0.5, 0.20, 0.7), soft_kl=(0.40, 0.10, 0.8))}
    found = verdict(by_keep, n_groups=7)
    assert found.use == "votes"
    assert "with 7 groups no difference can be claimed (at least 10 are needed)" in found.words[0]
    assert "nothing can be claimed from 7 groups" in found.words[1]


def test_the_smaller_claim_of_annotated_items_is_about_the_text() -> None:
    by_keep = {
        2: measured(
            constant=(0.6, 0.25, 0.0),
            share=(0.9, 0.3, 0.6),
            beta_prior=(0.5, 0.2, 0.6),
            votes_with_votes=(0.4, 0.1, 0.8),
        )
    }
    found = verdict(by_keep, question="annotated")
    assert found.use == "votes+votes"
    assert [(row.estimator, row.baseline, row.keep) for row in found.claims] == [("votes+votes", "beta_prior", 2)]
    assert found.claims[0].difference == pytest.approx(-0.1)
    assert "the best estimator without text" in found.words[1]


def test_a_baseline_without_any_answer_is_replaced() -> None:
    nothing = (np.nan,) * 3
    found = verdict(
        {1: measured(constant=(0.6, 0.25, 0.0), add_1=(0.5, 0.2, 0.6), votes_with_votes=nothing)}, question="annotated"
    )
    assert found.use == "add_1"
    assert "votes+votes has no answer here" in found.words[0]


def test_every_difference_is_holm_corrected_within_its_metric() -> None:
    by_keep = {k: measured(constant=(0.6, 0.25, 0.0), votes=(0.5, 0.2, 0.7), a=(0.4999, 0.2, 0.7)) for k in (1, 2)}
    rows = [row for row in compare("unseen", by_keep, baseline="votes") if row.metric == "log_loss"]
    assert [(row.keep, row.estimator) for row in rows] == [(1, "constant"), (1, "a"), (2, "constant"), (2, "a")]
    for row in rows:
        assert row.p <= row.p_holm <= 4 * row.p
