"""What people said of the systems' texts, in numbers: means, paired differences, agreement and distributions.

The paper's Tables 2 and 4: every text counts once, by the mean of its ratings, and a system by the mean of its texts.
Intervals and p-values are for new prompts *and* new annotators: both are resampled, the same for all systems.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from accord.evaluation.measure import TWO_WAY, Comparison
from accord.evaluation.outputs import SEPARATOR
from accord.evaluation.rated import Answers, Ratings, Scale, answers_to
from accord.randomness import keyed_rng
from accord.records import Measurement
from accord.statistics.agreement import alpha_interval
from accord.statistics.resampling import (
    Interval,
    describe_interval,
    percentile_interval,
    ratio,
    resampled_sums,
    two_way_resampled_sums,
)
from accord.statistics.significance import bootstrap_p_value, standardised_difference

MOST_UNDEFINED = 0.05
"""Share of resamples without a number, such as those without the one annotator of a system, above which the others are
no picture of chance: there is no interval and no test."""
SHARE_SUFFIX = "_share"
"""Of the measurement that reads a graded consensus as the share of people that each label stands for."""


class RatingResampling(NamedTuple):
    """How intervals are made; `level` is their coverage."""

    n_resamples: int
    level: float
    seed: int


class Aspect(NamedTuple):
    """The ratings of one aspect: V answers as numbers, with what they belong to.

    `weight` is one over the number of a text's answers, so that every text counts once. `cluster`: group or prompt.
    """

    name: str
    signature: str
    number: np.ndarray
    weight: np.ndarray
    system: np.ndarray
    prompt: np.ndarray
    cluster: np.ndarray
    annotator: np.ndarray

    @property
    def is_two_way(self) -> bool:
        """With one annotator there are no others to draw: only prompts are resampled."""
        return len(np.unique(self.annotator)) > 1


class RatedScale(msgspec.Struct, frozen=True):
    """One question in ratings.json: agreement with its interval, and how often each label was given to each system.

    `alpha`: Krippendorff's, over texts; nan where no text has two ratings.
    """

    name: str
    labels: tuple[str, ...]
    level: str
    n_ratings: int
    n_annotators: int
    alpha: float
    alpha_low: float
    alpha_high: float
    counts: dict[str, list[int]]


def aspects(ratings: Ratings) -> list[Aspect]:
    """The aspects that have a mean: every scale with numbers, and a graded consensus as the share it estimates too."""
    found = []
    for scale in ratings.scales:
        answers = answers_to(ratings, scale)
        if scale.numbers:
            found.append(_aspect(ratings, answers, scale, scale.name, scale.numbers))
        if scale.shares and scale.shares != scale.numbers:
            found.append(_aspect(ratings, answers, scale, f"{scale.name}{SHARE_SUFFIX}", scale.shares))
    return found


def measure_ratings(found: Sequence[Aspect], *, how: RatingResampling) -> list[Measurement]:
    """Mean of each aspect per system; n counts the texts."""
    rows = []
    for aspect in found:
        systems = list(dict.fromkeys(aspect.system.tolist()))
        resampled = _resampled_means(aspect, systems, how=how)
        for column, system in enumerate(systems):
            value = _mean(aspect, system)
            n_clusters = len(np.unique(aspect.cluster[aspect.system == system]))
            interval = _interval(value, resampled[:, column], n_clusters=n_clusters, level=how.level)
            n = round(float(aspect.weight[aspect.system == system].sum()))
            rows.append(Measurement(aspect.name, system, *interval, n, f"{aspect.signature}|{_ci(aspect, how)}"))
    return rows


def compare_ratings(
    found: Sequence[Aspect], pairs: Sequence[tuple[str, str]], *, how: RatingResampling
) -> tuple[list[Comparison], list[Measurement]]:
    """Paired differences on the prompts that both systems were rated on; p is not yet corrected (p_holm is nan).

    p = (1 + #{|d* − d| ≥ |d|}) / (1 + R) over the two-way resamples, as `paired_bootstrap`.
    """
    comparisons, measurements = [], []
    for first, second in pairs:
        for aspect in found:
            shared = _on_shared_prompts(aspect, first, second)
            a, b = _mean(shared, first), _mean(shared, second)
            resampled = _resampled_means(shared, [first, second], how=how)
            differences = resampled[:, 0] - resampled[:, 1]
            interval = _interval(a - b, differences, n_clusters=_n_clusters(shared), level=how.level)
            is_defined = not np.isnan(interval.low)
            p = bootstrap_p_value(differences[~np.isnan(differences)], a - b) if is_defined else np.nan
            pair, test = f"{first}{SEPARATOR}{second}", f"{_test(shared)}-{how.n_resamples}"
            effect = _effect(shared, first, second)
            comparisons.append(Comparison(aspect.name, pair, *interval, p, np.nan, effect, test))
            signature = f"{aspect.signature}|paired|{_ci(shared, how)}|test:{test}"
            n = len(np.unique(shared.prompt))
            measurements.append(Measurement(aspect.name, pair, *interval, n, signature))
    return comparisons, measurements


def describe_scales(ratings: Ratings, *, how: RatingResampling) -> list[RatedScale]:
    """Agreement and distribution of every question, in the form's order."""
    clusters = np.array([text.group or text.prompt_id or text.id for text in ratings.texts])
    rows = []
    for scale in ratings.scales:
        answers = answers_to(ratings, scale)
        alpha = alpha_interval(
            answers.text_index,
            answers.annotator_index,
            answers.label_index,
            level=scale.level,
            clusters=clusters,
            n_resamples=how.n_resamples,
            confidence=how.level,
            rng=keyed_rng(how.seed, "ratings", "alpha", scale.name),
        )
        counts = _label_counts(ratings, answers, scale)
        rows.append(
            RatedScale(
                scale.name, scale.labels, scale.level, len(answers.text_index), len(answers.annotators), *alpha, counts
            )
        )
    return rows


def count_ratings(ratings: Ratings) -> dict[str, dict[str, int]]:
    """Per system: texts rated, empty ones among them, seeds, prompts; as `count_outputs` does for outputs."""
    counts = {}
    for system in dict.fromkeys(text.system for text in ratings.texts):
        texts = [text for text in ratings.texts if text.system == system]
        counts[system] = {
            "n_outputs": len(texts),
            "n_empty": sum(not text.completion.strip() for text in texts),
            "n_seeds": len({text.seed for text in texts}),
            "n_prompts": len({text.prompt_id or text.id for text in texts}),
        }
    return counts


def prompt_means(found: Sequence[Aspect]) -> Iterator[tuple[str, str, str, float]]:
    """(prompt id, system, aspect, mean) of every prompt that was rated."""
    for aspect in found:
        for system in dict.fromkeys(aspect.system):
            for prompt in dict.fromkeys(aspect.prompt[aspect.system == system]):
                chosen = (aspect.system == system) & (aspect.prompt == prompt)
                yield str(prompt), str(system), aspect.name, _weighted(aspect, chosen)


# -- steps ------------------------------------------------------------------------------------------------------


def _aspect(ratings: Ratings, answers: Answers, scale: Scale, name: str, numbers: Mapping[str, float]) -> Aspect:
    by_label = np.array([numbers[label] for label in scale.labels])
    n_answers = np.bincount(answers.text_index, minlength=len(ratings.texts))
    texts = [ratings.texts[number] for number in answers.text_index]
    values = sorted({numbers[label] for label in scale.labels})
    signature = f"rating:{scale.name}|{values[0]:g}..{values[-1]:g}|annotators:{len(answers.annotators)}"
    return Aspect(
        name,
        signature,
        by_label[answers.label_index],
        1 / n_answers[answers.text_index],
        np.array([text.system for text in texts]),
        np.array([text.prompt_id or text.id for text in texts]),
        np.array([text.group or text.prompt_id or text.id for text in texts]),
        answers.annotator_index,
    )


def _weighted(aspect: Aspect, chosen: np.ndarray) -> float:
    return float((aspect.number * aspect.weight)[chosen].sum() / aspect.weight[chosen].sum())


def _mean(aspect: Aspect, system: str) -> float:
    chosen = aspect.system == system
    return _weighted(aspect, chosen) if chosen.any() else np.nan


def _resampled_means(aspect: Aspect, systems: Sequence[str], *, how: RatingResampling) -> np.ndarray:
    """[R, systems]: every system's mean in the same resamples."""
    columns: list[Any] = []
    for system in systems:
        weight = np.where(aspect.system == system, aspect.weight, 0.0)
        columns += [weight * aspect.number, weight]
    rng = keyed_rng(how.seed, "ratings", aspect.name)
    statistics = np.stack(columns, axis=1)
    if aspect.is_two_way:
        sums = two_way_resampled_sums(
            statistics, groups=aspect.cluster, annotators=aspect.annotator, n_resamples=how.n_resamples, rng=rng
        )
    else:
        sums = resampled_sums(statistics, clusters=aspect.cluster, n_resamples=how.n_resamples, rng=rng)
    return np.stack([ratio(sums[:, 2 * column : 2 * column + 2]) for column in range(len(systems))], axis=1)


def _interval(value: float, resampled: np.ndarray, *, n_clusters: int, level: float) -> Interval:
    if np.isnan(resampled).mean() > MOST_UNDEFINED:
        return Interval(value, np.nan, np.nan)
    return percentile_interval(value, resampled, level=level, n_clusters=n_clusters)


def _on_shared_prompts(aspect: Aspect, first: str, second: str) -> Aspect:
    """The ratings of two systems, on the prompts where both have some."""
    prompts = [set(aspect.prompt[aspect.system == system]) for system in (first, second)]
    kept = np.isin(aspect.system, (first, second)) & np.isin(aspect.prompt, sorted(prompts[0] & prompts[1]))
    columns = {name: getattr(aspect, name)[kept] for name in Aspect._fields[2:]}
    return aspect._replace(**columns)


def _effect(aspect: Aspect, first: str, second: str) -> float:
    clusters = np.unique(aspect.cluster)
    statistics = np.zeros((2, len(clusters), 2))
    position = np.searchsorted(clusters, aspect.cluster)
    for number, system in enumerate((first, second)):
        chosen = aspect.system == system
        np.add.at(statistics[number, :, 0], position[chosen], (aspect.number * aspect.weight)[chosen])
        np.add.at(statistics[number, :, 1], position[chosen], aspect.weight[chosen])
    return standardised_difference(statistics[:1], statistics[1:])


def _label_counts(ratings: Ratings, answers: Answers, scale: Scale) -> dict[str, list[int]]:
    systems = np.array([ratings.texts[number].system for number in answers.text_index])
    return {
        system: np.bincount(answers.label_index[systems == system], minlength=len(scale.labels)).tolist()
        for system in dict.fromkeys(text.system for text in ratings.texts)
    }


def _n_clusters(aspect: Aspect) -> int:
    return len(np.unique(aspect.cluster))


def _test(aspect: Aspect) -> str:
    return TWO_WAY if aspect.is_two_way else "bootstrap"


def _ci(aspect: Aspect, how: RatingResampling) -> str:
    unit = "group" if any(aspect.cluster != aspect.prompt) else "prompt"
    clusters = f"{unit}*annotator:{len(np.unique(aspect.annotator))}" if aspect.is_two_way else unit
    return describe_interval(n_resamples=how.n_resamples, level=how.level, clusters=clusters)


def interval_of_scale(scale: RatedScale) -> Interval:
    """Krippendorff's alpha with its interval."""
    return Interval(scale.alpha, scale.alpha_low, scale.alpha_high)
