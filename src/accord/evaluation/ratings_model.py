"""Does the preference model hold on generated text? Its predicted acceptance against the ratings of the same texts."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from accord.evaluation.metrics.acceptance import Predict, acceptance_values
from accord.evaluation.outputs import OutputTable
from accord.evaluation.rated import RatedText, Ratings, Scale, answers_to
from accord.evaluation.ratings import RatingResampling
from accord.randomness import keyed_rng
from accord.records import Measurement, Output
from accord.statistics.prediction_powered import prediction_powered_mean
from accord.statistics.proper_scores import reliability_curve, spearman
from accord.statistics.resampling import bootstrap_interval, bootstrap_interval_by_index, describe_interval

ALL = "all systems"


class ModelAgainstRatings(NamedTuple):
    """What ratings.json says of the preference model.

    `measurements`: rank correlation with every scale that has an order, and predicted minus rated share, per system;
    `reliability`: scale -> predicted and rated share in bins of equal mass; `powered`: the mean share of each system
    from its ratings and all predictions (`prediction_powered_mean`), after that from its ratings alone.
    """

    measurements: list[Measurement]
    reliability: dict[str, dict[str, list[float]]]
    powered: list[Measurement]


class _Judged(NamedTuple):
    """The texts that were rated on one scale, [n] each: mean number, mean share (nan without), answers, prediction."""

    rows: np.ndarray
    number: np.ndarray
    share: np.ndarray
    n_answers: np.ndarray
    predicted: np.ndarray


def measure_model(
    ratings: Ratings, *, predict: Predict, table: OutputTable | None, name: str, how: RatingResampling
) -> ModelAgainstRatings:
    """Compare predictions with ratings.

    Args:
        predict: prompt-completion pairs -> acceptance. name: of the model, for signatures.
        table: the outputs that the rated texts are some of; their other outputs make the estimate of `powered` surer.
    """
    predicted = acceptance_values([_as_output(text) for text in ratings.texts], predict=predict)
    others = _other_predictions(ratings, table, predict=predict)
    measurements: list[Measurement] = []
    powered: list[Measurement] = []
    reliability = {}
    for scale in ratings.scales:
        if not scale.numbers:
            continue
        judged = _judged(ratings, scale, predicted)
        measurements += _scale_measurements(ratings, scale, judged, name=name, how=how)
        if scale.shares:
            curve = reliability_curve(judged.predicted, judged.share * judged.n_answers, judged.n_answers)
            reliability[scale.name] = {key: np.asarray(values).tolist() for key, values in curve._asdict().items()}
            powered += _powered(ratings, scale, judged, others, name=name, how=how)
    return ModelAgainstRatings(measurements, reliability, powered)


# -- steps ------------------------------------------------------------------------------------------------------


def _as_output(text: RatedText) -> Output:
    prompt_id, system, seed, sample = text.output_key
    return Output(prompt_id, text.prompt, text.completion, system, seed, sample)


def _other_predictions(
    ratings: Ratings, table: OutputTable | None, *, predict: Predict
) -> dict[str, dict[str, list[float]]]:
    """system -> prompt id -> predicted acceptance of its outputs, where nobody rated any output of that prompt."""
    if table is None:
        return {}
    rated = {(text.system, text.output_key[0]) for text in ratings.texts if text.annotations}
    rows = [
        row
        for system in table.systems
        for cell in table.outputs[system]
        for row in cell
        if (system, row.id) not in rated
    ]
    found: dict[str, dict[str, list[float]]] = {}
    for row, share in zip(rows, acceptance_values(rows, predict=predict), strict=True):
        found.setdefault(row.system, {}).setdefault(row.id, []).append(float(share))
    return found


def _judged(ratings: Ratings, scale: Scale, predicted: np.ndarray) -> _Judged:
    answers = answers_to(ratings, scale)
    n_texts = len(ratings.texts)
    n_answers = np.bincount(answers.text_index, minlength=n_texts)
    rows = np.flatnonzero(n_answers)

    def means(numbers: Mapping[str, float]) -> np.ndarray:
        if not numbers:
            return np.full(len(rows), np.nan)
        by_label = np.array([numbers[label] for label in scale.labels])
        total = np.bincount(answers.text_index, weights=by_label[answers.label_index], minlength=n_texts)
        return total[rows] / n_answers[rows]

    return _Judged(rows, means(scale.numbers), means(scale.shares), n_answers[rows], predicted[rows])


def _scale_measurements(
    ratings: Ratings, scale: Scale, judged: _Judged, *, name: str, how: RatingResampling
) -> list[Measurement]:
    systems = np.array([ratings.texts[row].system for row in judged.rows])
    prompts = np.array([ratings.texts[row].group or ratings.texts[row].output_key[0] for row in judged.rows])
    found = []
    for system in [ALL, *dict.fromkeys(systems)]:
        chosen = np.flatnonzero((systems == system) | (system == ALL))
        part, clusters = _Judged(*(values[chosen] for values in judged)), prompts[chosen]
        rng = keyed_rng(how.seed, "ratings", "model", scale.name, str(system))
        correlation = bootstrap_interval_by_index(
            lambda index, part=part: spearman(part.predicted[index], part.number[index]),  # type: ignore[misc]
            n_items=len(chosen),
            clusters=clusters,
            n_resamples=how.n_resamples,
            level=how.level,
            rng=rng,
        )
        unit = describe_interval(n_resamples=how.n_resamples, level=how.level, clusters="prompt")
        signature = f"rating:{scale.name}|model:{name}|{unit}"
        found.append(Measurement(f"spearman_{scale.name}", str(system), *correlation, len(chosen), signature))
        if scale.shares:
            excess = bootstrap_interval(
                part.predicted - part.share, clusters=clusters, n_resamples=how.n_resamples, level=how.level, rng=rng
            )
            row = Measurement(f"predicted_minus_{scale.name}", str(system), *excess, len(chosen), signature)
            found.append(row)
    return found


def _powered(
    ratings: Ratings,
    scale: Scale,
    judged: _Judged,
    others: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    name: str,
    how: RatingResampling,
) -> list[Measurement]:
    """Of each system, the prediction-powered mean and the plain one; a prompt's samples are averaged first."""
    rows = []
    texts: dict[str, dict[str, list[int]]] = {}
    for position, row in enumerate(judged.rows):
        text = ratings.texts[row]
        texts.setdefault(text.system, {}).setdefault(text.output_key[0], []).append(position)
    for system, by_prompt in texts.items():
        shares = np.array([judged.share[positions].mean() for positions in by_prompt.values()])
        predicted = np.array([judged.predicted[positions].mean() for positions in by_prompt.values()])
        unrated = np.array([np.mean(values) for values in others.get(system, {}).values()])
        for label, weight in (("powered", None), ("rated", 0.0)):
            found = prediction_powered_mean(shares, predicted, unrated, weight=weight, level=how.level)
            n = len(shares) + (len(unrated) if label == "powered" else 0)
            signature = (
                f"rating:{scale.name}|model:{name}|ppi++|weight:{found.weight:.3f}|n:{len(shares)}+{len(unrated)}"
            )
            rows.append(
                Measurement(f"{label}_{scale.name}", system, *found[:3], n, f"{signature}|ci:normal@{how.level}")
            )
    return rows
