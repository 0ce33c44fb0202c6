"""A validation figure of a generator before and after its training, and their paired difference, with intervals."""

import numpy as np

from accord.randomness import keyed_rng
from accord.records import Measurement
from accord.statistics.resampling import Combine, as_statistics, bootstrap_interval, describe_interval, ratio

N_RESAMPLES = 1000
LEVEL = 0.95


def before_after(
    name: str,
    before: np.ndarray,
    after: np.ndarray,
    *,
    system: str,
    clusters: np.ndarray,
    signature: str,
    seed: int,
    combine: Combine = ratio,
) -> list[Measurement]:
    """Level before ("base"), level after (`system`) and their paired difference; all three see the same resamples.

    Args:
        before, after: per prompt [N] values, of which the mean is taken, or [N, S] statistics whose sums `combine`
            turns into a number (see `bootstrap_interval`). A prompt that is nan in one is left out of that and of the
            difference.
        clusters: what the prompts belong to, [N].
        signature: what was measured on what; how the interval was made is added.
        seed: keys the resamples, together with `name`.
    """
    old, new = as_statistics(before), as_statistics(after)
    width = old.shape[1]

    def difference(sums: np.ndarray) -> np.ndarray:
        return combine(sums[:, width:]) - combine(sums[:, :width])

    shown = f"{name}|{signature}|{describe_interval(n_resamples=N_RESAMPLES, level=LEVEL, clusters='group')}"
    measurements = []
    for label, statistics, combined in (
        ("base", old, combine),
        (system, new, combine),
        (f"{system} - base", np.hstack([old, new]), difference),
    ):
        rng = keyed_rng(seed, "bootstrap", name)
        value, low, high = bootstrap_interval(
            statistics, clusters=clusters, combine=combined, n_resamples=N_RESAMPLES, level=LEVEL, rng=rng
        )
        n = int(np.sum(~np.isnan(statistics).any(axis=1)))
        measurements.append(Measurement(name, label, value, low, high, n, shown))
    return measurements
