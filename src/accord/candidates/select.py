"""Best of K: a control that changes no weight, it only picks among a generator's own samples."""

import math
from collections.abc import Sequence

import msgspec

from accord.errors import DataError
from accord.records import Output


def select_best(
    outputs: Sequence[Output], scores: Sequence[float], k: int, *, system: str | None = None
) -> list[Output]:
    """For each prompt, the best-scored output of every k samples, in order of first appearance.

    A prompt's outputs are taken k at a time in the order of `sample`, so 12 samples with k = 4 give 3 outputs,
    numbered 0, 1, 2: each is one draw of the best-of-k system. Among equal scores the first wins. What the generator
    thinks of the references is left out: a choice among texts gives them no probability.

    Args:
        outputs, scores: parallel; higher is better.
        k: samples per draw, at least 1; the number of samples of every prompt must be a multiple of it.
        system: name of the result; by default each output's own name with ", best of k" after it.

    Raises:
        DataError: lists of different lengths, an undefined score, or a number of samples that k does not divide.
    """
    if len(outputs) != len(scores):
        raise DataError(f"{len(scores)} scores for {len(outputs)} outputs. Expected one score per output.")
    prompts: dict[tuple[str, str, int], list[tuple[Output, float]]] = {}
    for output, score in zip(outputs, scores, strict=True):
        if math.isnan(score):
            raise DataError(f"output {output.id!r} sample {output.sample} has no score. Score all outputs first.")
        prompts.setdefault((output.id, output.system, output.seed), []).append((output, score))
    chosen = []
    for (prompt_id, name, _), scored in prompts.items():
        if k < 1 or len(scored) % k:
            raise DataError(
                f"prompt {prompt_id!r} has {len(scored)} outputs of {name!r}. Expected a multiple of k = {k}; "
                f"decode with --samples {max(k, 1)} or choose another k."
            )
        scored.sort(key=lambda pair: pair[0].sample)
        for draw in range(len(scored) // k):
            best, _ = max(scored[draw * k : (draw + 1) * k], key=lambda pair: pair[1])
            picked = {"sample": draw, "system": system or f"{name}, best of {k}"}
            chosen.append(msgspec.structs.replace(best, **picked, reference_logp=None, reference_tokens=None))
    return chosen
