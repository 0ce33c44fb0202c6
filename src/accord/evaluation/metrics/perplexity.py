"""Perplexity: how surprised a generator is by what people wrote to the prompts (Jelinek et al. 1977)."""

import numpy as np
from jaxtyping import Float

from accord.evaluation.metrics.metric import Metric, MetricInputs, mean_over_samples
from accord.evaluation.metrics.texts import Texts
from accord.statistics.resampling import ratio


def perplexity(inputs: MetricInputs) -> Metric:  # noqa: ARG001 - every metric is made from the same inputs
    """exp(−Σ log p / Σ tokens) over all tokens of all references, the end of sequence counted.

    Of the generator, not of its texts: `accord decode --max-reference-tokens` writes Σ log p and the tokens beside
    each output. Undefined (nan) where it did not. The tokens are the generator's own, so generators with other
    tokenizers cannot be compared.
    """
    signature = "perplexity|of references|teacher-forced|log:e|per:token of the generator|eos:counted"
    return Metric("perplexity", signature, mean_over_samples(reference_losses), exp_ratio)


def reference_losses(texts: Texts) -> Float[np.ndarray, "O 2"]:
    """−Σ log p and the number of tokens of every output's references; nan where they are unknown."""
    rows = [
        (np.nan, np.nan)
        if output.reference_logp is None or not output.reference_tokens
        else (-output.reference_logp, float(output.reference_tokens))
        for output in texts.outputs
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def exp_ratio(sums: Float[np.ndarray, "R 2"]) -> Float[np.ndarray, " R"]:
    """exp(Σ losses / Σ tokens); nan without tokens, inf where it is beyond floating point."""
    with np.errstate(over="ignore"):
        return np.exp(ratio(sums))
