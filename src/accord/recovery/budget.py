"""How many annotators do I need? What the votes of one corpus say about collecting more of them.

The model is the one behind the posterior shares: item i is accepted by a share ρ_i of people, drawn from
Beta(m q_i, m (1 − q_i)), q_i what is predicted without its votes, m how many votes that is worth. Then n votes leave
an expected squared error of the posterior share of

    E[(ρ − ρ̂_n)²] = v_i · m / (m + n),   v_i = q_i (1 − q_i) / (m + 1) the variance of ρ_i before any vote,

and the expected Brier score of one more vote is m v_i + that error: m v_i = E[ρ (1 − ρ)] is what people disagree about
and no method can predict. The n-th vote of an item gains less than the one before, so of a fixed set of items the
mean error is least when votes are spread evenly; what is left to decide is how many items.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num, Shaped

from accord.preference.posterior import fit_prior_strength, posterior_beta
from accord.recovery.vote_estimators import fit_beta_prior
from accord.statistics.resampling import Interval, cluster_index, percentile_interval, resampled_counts

N_PAIRS = 20_000
"""Simulated pairs of items behind a rank accuracy: its Monte-Carlo error is below 0.004."""
N_RESAMPLED_PAIRS = 2000
"""The same pairs for every resampled population: how far it moves needs fewer of them."""
N_SIMULATED_ITEMS = 1000
"""More items move a fitted strength too little to matter for the error."""


class Population(NamedTuple):
    """Items like those of a corpus: what is predicted of each without its votes, and how many votes that is worth."""

    acceptance: Float[np.ndarray, " N"]
    strength: float

    @property
    def variance(self) -> Float[np.ndarray, " N"]:
        """v, the variance of each item's share before any vote."""
        return self.acceptance * (1 - self.acceptance) / (self.strength + 1)


class BudgetPoint(NamedTuple):
    """What a number of votes per item gives; the budget pays for `n_items` of them.

    `error`, `brier`: of the annotated items' posterior shares, per item and per fresh vote. `learned_error`: the same
    error, where m has to be learned from these very votes (simulated; nan for one vote an item, which cannot teach
    it). `explained`: part of the variance of the true shares between items that the posterior shares explain.
    `rank_accuracy`: how often they put two items in the right order. `error_of_all`: over all items of the corpus,
    those beyond `n_items` keeping what is predicted without votes.
    """

    n_votes: int
    n_items: int
    error: Interval
    learned_error: float
    brier: Interval
    explained: Interval
    rank_accuracy: Interval
    error_of_all: Interval


class Recommendation(NamedTuple):
    """The fewest votes per item that explain `target` of the variance, and the items that the budget then pays for.

    Intervals speak of other items of the same kind (bootstrap of the fitted population). `even_votes`: what the budget
    gives each item of the corpus when it is spread evenly; `even_explained` what that explains.
    """

    target: float
    n_votes: Interval
    n_items: Interval
    even_votes: float
    even_explained: Interval


class AnnotationBudget(NamedTuple):
    """The answer: who the items are, the curve, the recommendation."""

    budget: int
    population: Population
    strength: Interval
    curve: list[BudgetPoint]
    recommendation: Recommendation


class BudgetCheck(NamedTuple):
    """The Brier score that the model expects after n visible votes beside the one measured on hidden votes."""

    n_votes: int
    expected: Interval
    measured: Interval

    @property
    def agrees(self) -> bool:
        """Whether the two intervals overlap; undefined ones do not."""
        return self.expected.low <= self.measured.high and self.measured.low <= self.expected.high


def annotation_budget(
    n_acceptable: Num[np.ndarray, " N"],
    n_votes: Num[np.ndarray, " N"],
    *,
    acceptance: Float[np.ndarray, " N"] | None = None,
    clusters: Shaped[np.ndarray, " N"] | None = None,
    budget: int | None = None,
    votes_per_item: Sequence[int] = tuple(range(1, 11)),
    target: float = 0.8,
    n_resamples: int = 200,
    level: float = 0.95,
    rng: np.random.Generator,
) -> AnnotationBudget:
    """Fit the population to a corpus, resample its items, and say what a budget of votes would give.

    Args:
        n_acceptable, n_votes: of the corpus. acceptance: q, out of fold; None: no text, one mean for all.
        clusters: groups of items that are resampled as wholes.
        budget: votes to spend; None: as many as the corpus has.
        target: what the recommended number of votes must explain of the variance of the shares between items.

    An undefined population (no item has two votes) gives nan throughout.
    """
    population = fit_population(n_acceptable, n_votes, acceptance=acceptance)
    resampled = bootstrap_populations(
        n_acceptable, n_votes, acceptance=acceptance, clusters=clusters, n_resamples=n_resamples, rng=rng
    )
    spend = round(float(n_votes.sum())) if budget is None else budget
    strengths = np.array([drawn.strength for drawn in resampled])
    return AnnotationBudget(
        spend,
        population,
        percentile_interval(population.strength, strengths, level=level, n_clusters=len(population.acceptance)),
        budget_curve(population, resampled, budget=spend, votes_per_item=votes_per_item, level=level, rng=rng),
        recommend(population, resampled, budget=spend, target=target, level=level),
    )


def fit_population(
    n_acceptable: Num[np.ndarray, " N"],
    n_votes: Num[np.ndarray, " N"],
    *,
    acceptance: Float[np.ndarray, " N"] | None = None,
) -> Population:
    """q and m of a corpus: m by marginal likelihood given q; without predictions one q for all, fitted with m.

    Items without votes keep their q and say nothing about m. m is nan where no item has two votes.
    """
    if acceptance is None:
        mean, strength = fit_beta_prior(np.stack([n_votes - n_acceptable, n_acceptable], axis=1).astype(np.float64))
        return Population(np.full(len(n_votes), mean), strength)
    return Population(acceptance, fit_prior_strength(acceptance, n_acceptable, n_votes))


def bootstrap_populations(
    n_acceptable: Num[np.ndarray, " N"],
    n_votes: Num[np.ndarray, " N"],
    *,
    acceptance: Float[np.ndarray, " N"] | None = None,
    clusters: Shaped[np.ndarray, " N"] | None = None,
    n_resamples: int = 200,
    rng: np.random.Generator,
) -> list[Population]:
    """The population fitted to resamples of the corpus's items (whole clusters); the predictions themselves stay."""
    index, n_clusters = cluster_index(np.arange(len(n_votes)) if clusters is None else clusters)
    found = []
    for chunk in resampled_counts(n_clusters, n_resamples, rng):
        for counts in chunk:
            rows = np.repeat(np.arange(len(n_votes)), counts[index].astype(np.int64))
            q = None if acceptance is None else acceptance[rows]
            found.append(fit_population(n_acceptable[rows], n_votes[rows], acceptance=q))
    return found


def expected_error(population: Population, n_votes: float) -> float:
    """Mean squared error of the posterior share after n votes an item, v · m / (m + n) on average; 0 votes: mean v."""
    m = population.strength
    return float(np.mean(population.variance) * m / (m + n_votes))


def expected_brier(population: Population, n_votes: float) -> float:
    """Expected Brier score of a fresh vote under the posterior share after n votes: mean of m v + v m / (m + n)."""
    return float(np.mean(population.variance) * population.strength) + expected_error(population, n_votes)


def explained_variance(population: Population, n_votes: float) -> float:
    """1 − E[(ρ − ρ̂_n)²] / Var(ρ), Var(ρ) over items. Without predictions this is n / (n + m), the reliability of a
    mean of n votes (Spearman–Brown); good predictions explain something before any vote. nan where shares do not vary.
    """
    total = float(np.var(population.acceptance) + np.mean(population.variance))
    return 1 - expected_error(population, n_votes) / total if total > 0 else np.nan


def votes_to_explain(population: Population, target: float) -> float:
    """The fewest votes per item, a whole number from 1, that explain `target` of the variance; nan as above."""
    within, between = float(np.mean(population.variance)), float(np.var(population.acceptance))
    if np.isnan(within + between) or within + between == 0:
        return np.nan
    needed = population.strength * (within / ((1 - target) * (within + between)) - 1)
    return float(max(1, math.ceil(needed - 1e-9)))


def rank_accuracies(
    population: Population, max_votes: int, *, n_pairs: int = N_PAIRS, rng: np.random.Generator
) -> Float[np.ndarray, " n"]:
    """How often the posterior shares of two random items are in the order of their true shares, after 0 … n votes.

    Simulated; equal posterior shares count half. The same votes come one after the other, so the curve is smooth.
    """
    if np.isnan(population.strength):
        return np.full(max_votes + 1, np.nan)
    rows = rng.integers(len(population.acceptance), size=(2, n_pairs))
    prior = posterior_beta(
        population.acceptance[rows.ravel()], np.zeros(rows.size), np.zeros(rows.size), strength=population.strength
    )
    a, b = prior.a.reshape(rows.shape), prior.b.reshape(rows.shape)
    truth = rng.beta(a, b)
    votes = rng.random((max_votes, *rows.shape)) < truth
    accepting = np.concatenate([np.zeros((1, *rows.shape)), np.cumsum(votes, axis=0)])
    shares = (a + accepting) / (a + b + np.arange(max_votes + 1)[:, None, None])
    agreement = np.sign(np.round(shares[:, 0] - shares[:, 1], 12)) * np.sign(truth[0] - truth[1])
    return np.mean((1 + agreement) / 2, axis=1)


def simulated_error(population: Population, n_votes: int, n_items: int, *, rng: np.random.Generator) -> float:
    """Squared error of the posterior shares of `n_items` simulated items, m learned from their n votes each.

    One draw; nan where m cannot be learned (n < 2).
    """
    if np.isnan(population.strength):
        return np.nan
    q = population.acceptance[rng.integers(len(population.acceptance), size=n_items)]
    nothing = np.zeros(n_items)
    truth = rng.beta(*posterior_beta(q, nothing, nothing, strength=population.strength))
    accepting, n = rng.binomial(n_votes, truth), np.full(n_items, n_votes)
    a, b = posterior_beta(q, accepting, n, strength=fit_prior_strength(q, accepting, n))
    return float(np.mean((a / (a + b) - truth) ** 2))


def budget_curve(
    population: Population,
    resampled: Sequence[Population],
    *,
    budget: int,
    votes_per_item: Sequence[int],
    level: float = 0.95,
    n_simulations: int = 5,
    rng: np.random.Generator,
) -> list[BudgetPoint]:
    """A point for every number of votes per item that the budget can pay for one item of."""
    pair_rng, item_rng = rng.spawn(2)
    seed = int(pair_rng.integers(1 << 62))  # the same pairs for every population: intervals with less Monte-Carlo noise
    ranks_rng = pair_rng.spawn(1)[0]
    affordable = [n for n in votes_per_item if n <= budget]
    most = max(affordable, default=0)

    def ranks_of(of: Population) -> np.ndarray:
        return rank_accuracies(of, most, n_pairs=N_RESAMPLED_PAIRS, rng=np.random.default_rng(seed))

    ranks = rank_accuracies(population, most, rng=ranks_rng)
    of_drawn = np.array([ranks_of(drawn) for drawn in resampled]).reshape(len(resampled), most + 1)
    moves = of_drawn - of_drawn.mean(axis=0) if resampled else of_drawn  # what all share is Monte-Carlo noise
    n_all = len(population.acceptance)

    def interval(value: float, draws: Sequence[float]) -> Interval:
        return percentile_interval(value, np.array(draws), level=level, n_clusters=n_all)

    def interval_of(statistic: Callable[[Population, float], float], n: int) -> Interval:
        return interval(statistic(population, n), [statistic(drawn, n) for drawn in resampled])

    def point(n: int) -> BudgetPoint:
        n_items = budget // n
        covered = min(1.0, n_items / n_all)

        def error_of_all(of: Population, n: float) -> float:
            return covered * expected_error(of, n) + (1 - covered) * expected_error(of, 0)

        n_simulated = min(n_items, N_SIMULATED_ITEMS)
        learned = [simulated_error(population, n, n_simulated, rng=item_rng) for _ in range(n_simulations)]
        return BudgetPoint(
            n_votes=n,
            n_items=n_items,
            error=interval_of(expected_error, n),
            learned_error=float(np.mean(learned)),
            brier=interval_of(expected_brier, n),
            explained=interval_of(explained_variance, n),
            rank_accuracy=interval(float(ranks[n]), [float(ranks[n] + move[n]) for move in moves]),
            error_of_all=interval_of(error_of_all, n),
        )

    return [point(n) for n in affordable]


def recommend(
    population: Population, resampled: Sequence[Population], *, budget: int, target: float, level: float = 0.95
) -> Recommendation:
    """Votes per item for the target, items for the budget, and what an even spread over the corpus would explain."""
    n_all = len(population.acceptance)
    draws = np.array([votes_to_explain(drawn, target) for drawn in resampled])
    n_votes = percentile_interval(votes_to_explain(population, target), draws, level=level, n_clusters=n_all)
    even = budget / n_all
    explained = np.array([explained_variance(drawn, even) for drawn in resampled])
    return Recommendation(
        target,
        n_votes,
        Interval(*(np.floor(budget / votes) for votes in (n_votes.value, n_votes.high, n_votes.low))),
        even,
        percentile_interval(explained_variance(population, even), explained, level=level, n_clusters=n_all),
    )


def check_against_hidden(
    population: Population,
    resampled: Sequence[Population],
    measured: Sequence[tuple[int, Interval]],
    *,
    level: float = 0.95,
) -> list[BudgetCheck]:
    """The model's curve beside the real one of hidden votes.

    Args:
        population, resampled: of the targets of the hiding. The measured posterior must rest on the same predictions:
            `beta_prior` for a population without text. A model fitted anew at every `keep` predicts better with more
            votes, which this curve leaves out.
        measured: (visible votes per item, Brier score per hidden vote, every target counting once).
    """
    n_all = len(population.acceptance)
    checks = []
    for n_votes, brier in measured:
        draws = np.array([expected_brier(drawn, n_votes) for drawn in resampled])
        value = expected_brier(population, n_votes)
        checks.append(BudgetCheck(n_votes, percentile_interval(value, draws, level=level, n_clusters=n_all), brier))
    return checks


def budget_lines(found: AnnotationBudget) -> list[str]:
    """The recommendation in words."""
    advice, strength = found.recommendation, found.strength
    if np.isnan(found.population.strength):
        return ["How many annotators: undefined, because no item has two votes or more to say how far people differ."]
    if np.isnan(advice.n_votes.value):
        return ["How many annotators: undefined, because the predicted shares do not differ between items."]
    return [
        f"What is known of an item without its votes is worth {_text(strength, 1)} votes.",
        f"{_text(advice.n_votes, 0)} votes per item explain {advice.target:.0%} of what the items' shares differ by; "
        f"{found.budget:,} votes pay for {_text(advice.n_items, 0)} such items.",
        f"Spread evenly over these {len(found.population.acceptance):,} items the same votes are "
        f"{advice.even_votes:.1f} each and explain {_text(advice.even_explained, 2)}; no other spread over them has "
        "a lower mean error.",
    ]


def _text(interval: Interval, digits: int) -> str:
    value, low, high = (f"{number:,.{digits}f}" for number in interval)
    return f"{value} [{low}, {high}]"
