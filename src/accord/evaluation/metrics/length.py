"""Length: acceptance and overlap metrics both move with it, so it stands beside them."""

import numpy as np

from accord.evaluation.metrics.metric import Metric, MetricInputs, mean_over_samples
from accord.evaluation.metrics.texts import Texts


def length(inputs: MetricInputs) -> Metric:  # noqa: ARG001 - every metric is made from the same inputs
    """Mean number of words (separated by white space); empty completions count as 0."""
    return Metric("length", "words|tok:whitespace", mean_over_samples(word_counts))


def length_tokens(inputs: MetricInputs) -> Metric:
    """Mean number of words as `tokenize` splits them; the paper's Avg.Len counts NLTK's words."""

    def counts(texts: Texts) -> np.ndarray:
        return texts.lengths(inputs.tokenize)[0].astype(np.float64)

    return Metric("length_tokens", f"words|tok:{inputs.tokenize}", mean_over_samples(counts))


def word_counts(texts: Texts) -> np.ndarray:
    """[O] words per output."""
    return texts.lengths("whitespace")[0].astype(np.float64)
