"""Acceptance under a preference model: the predicted share of people who would accept the text."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from accord.artifacts import hash_input
from accord.errors import ConfigError
from accord.evaluation.metrics.metric import Metric, MetricInputs, is_empty, mean_over_samples
from accord.evaluation.metrics.texts import Texts
from accord.records import Output, Prompt

Predict = Callable[[Sequence[tuple[Prompt, str]]], np.ndarray]


def acceptance(inputs: MetricInputs) -> Metric:
    """Mean predicted acceptance, 0 to 1; an empty completion is accepted by nobody (0).

    Evidence only if the model was trained on other annotators than the one whose scores the systems were tuned on.

    Raises:
        ConfigError: no preference model is given.
    """
    if inputs.preference_model is None:
        raise ConfigError(
            'Metric "acceptance" needs a preference model, found none. '
            "Give the folder of `accord fit` with --preference-model, or leave acceptance out of metrics."
        )
    folder = Path(inputs.preference_model)
    predict = predictor(folder)

    def per_output(texts: Texts) -> np.ndarray:
        return acceptance_values(texts.outputs, predict=predict)

    signature = f"acceptance|model:{hash_input(folder)[:12]}|empty:0"
    return Metric("acceptance", signature, mean_over_samples(per_output))


def acceptance_values(outputs: Sequence[Output], *, predict: Predict) -> np.ndarray:
    """[O] predicted acceptance, 0 for an empty completion; equal prompt-completion pairs are predicted once."""
    pairs = [(output.prompt, output.completion) for output in outputs]
    judged = list(dict.fromkeys(pair for pair, row in zip(pairs, outputs, strict=True) if not is_empty(row)))
    shares = dict(zip(judged, predict(judged), strict=True)) if judged else {}
    return np.array([shares.get(pair, 0.0) for pair in pairs])


def predictor(folder: Path) -> Predict:
    """Predicted acceptance under the model in `folder`, which is loaded at the first call and kept."""

    @cache
    def load() -> Any:
        from accord.preference.predict import load_acceptance_model

        return load_acceptance_model(folder)

    def predict(pairs: Sequence[tuple[Prompt, str]]) -> np.ndarray:
        return expit(load().acceptance(pairs).logits)

    return predict
