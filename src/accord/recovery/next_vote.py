"""What one more vote is worth.

What is known of the share of people who accept an item is Beta(a, b): its prediction counts as m votes, its own votes
are added. One more vote turns it into Beta(a + 1, b) with the chance a / (a + b), else into Beta(a, b + 1). With
s = a + b the variance v = ab / (s² (s + 1)) becomes v s / (s + 1) on average, so a vote is worth

    v − E[v after it] = ab / (s² (s + 1)²),

most where acceptance is in doubt and little is known. Where the same is known of all items (no predictions, no votes)
it is worth the same for all, and votes are best spread: fewest votes first.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from accord.preference.posterior import PosteriorBeta


def variance(known: PosteriorBeta) -> Float[np.ndarray, " N"]:
    """Of each item's share: ab / (s² (s + 1))."""
    a, b = known
    return a * b / ((a + b) ** 2 * (a + b + 1))


def expected_reduction(known: PosteriorBeta) -> Float[np.ndarray, " N"]:
    """By how much one more vote lowers the variance of each item's share, on average: ab / (s² (s + 1)²)."""
    return variance(known) / (known.a + known.b + 1)


def by_value(
    value: Float[np.ndarray, " N"], tie_break: Float[np.ndarray, " N"], *, among: Bool[np.ndarray, " N"]
) -> Int[np.ndarray, " n"]:
    """The items of a mask, the highest value first; equal ones by the lowest tie-break."""
    candidates = np.flatnonzero(among)
    return candidates[np.lexsort((tie_break[candidates], -value[candidates]))]
