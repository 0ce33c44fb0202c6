"""One label per item out of many votes: majority with ties split, and Dawid-Skene.

Both answer "which label is right?", not "what share of people would accept this?"; accord uses them as baselines.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from scipy import sparse

TINY = 1e-10  # floor of priors and error rates: one slip must not make a label impossible


class DawidSkene(NamedTuple):
    """What EM found.

    `label_probs` [N, L]: P(true label of item i | all votes). `error_rates` [M, L, L]: P(annotator says the last
    index | true label is the middle index); rows sum to one. `priors` [L]: how frequent each true label is.
    `log_likelihood`: of all votes, in nats. `has_converged`: False when `max_iterations` came first; check it.
    """

    label_probs: Float[np.ndarray, "N L"]
    error_rates: Float[np.ndarray, "M L L"]
    priors: Float[np.ndarray, " L"]
    log_likelihood: float
    n_iterations: int
    has_converged: bool


def majority_label(counts: Num[np.ndarray, "N L"]) -> Float[np.ndarray, "N L"]:
    """One-hot rows for the label with most votes; a tie of k labels gives each 1/k, so no coin decides.

    Rows sum to one; an item without votes has no majority and is nan.
    """
    is_top = counts == counts.max(axis=1, keepdims=True)
    probs = is_top / is_top.sum(axis=1, keepdims=True)
    return np.where(counts.sum(axis=1, keepdims=True) > 0, probs, np.nan)


def has_majority_tie(counts: Num[np.ndarray, "N L"]) -> Bool[np.ndarray, " N"]:
    """True where two labels or more share the highest, non-zero number of votes."""
    top = counts.max(axis=1, keepdims=True)
    return ((counts == top).sum(axis=1) > 1) & (top[:, 0] > 0)


def dawid_skene(
    item_index: Int[np.ndarray, " V"],
    annotator_index: Int[np.ndarray, " V"],
    label_index: Int[np.ndarray, " V"],
    n_labels: int,
    *,
    n_items: int | None = None,
    n_annotators: int | None = None,
    max_iterations: int = 1000,
    tolerance: float = 1e-8,
) -> DawidSkene:
    """Maximum-likelihood true labels and error rates by EM (Dawid & Skene 1979, Applied Statistics 28(1)).

    Model: item i has one true label t_i ~ π; annotator j who sees it says label l with probability θ_j[t_i, l],
    independently of the other annotators.

        E step:  P(t_i = t) ∝ π_t · Π_{(j, l) said of i} θ_j[t, l]            (their Eq. 2.5, in logs)
        M step:  θ_j[t, l] ∝ Σ_{i: j said l} P(t_i = t),  π_t = mean_i P(t_i = t)    (their Eq. 2.3, 2.4)

    EM starts from each item's vote shares and stops when the log-likelihood per vote gains less than
    `tolerance`; it finds a local maximum. Edges: an item without votes keeps the prior; an annotator never seen
    on a true label says anything equally there; an item with one vote is believed as far as its annotator is.

    Args:
        item_index, annotator_index, label_index: the V annotations, integers from 0.
        n_labels: L. n_items, n_annotators: N and M; by default the highest index plus one.
    """
    n_items = int(item_index.max(initial=-1)) + 1 if n_items is None else n_items
    n_annotators = int(annotator_index.max(initial=-1)) + 1 if n_annotators is None else n_annotators
    said = annotator_index * n_labels + label_index
    # [M·L, N]: which (annotator, label) was said of which item. Both steps are products with it.
    votes = sparse.csr_array((np.ones(len(said)), (said, item_index)), shape=(n_annotators * n_labels, n_items))
    label_probs = _vote_shares(item_index, label_index, n_items, n_labels)
    log_likelihood, has_converged, n_iterations = -np.inf, False, 0
    while n_iterations < max_iterations and not has_converged:
        n_iterations += 1
        priors, error_rates = _m_step(votes, label_probs, n_annotators)
        label_probs, new_log_likelihood = _e_step(votes, priors, error_rates)
        has_converged = new_log_likelihood - log_likelihood < tolerance * max(1, len(said))
        log_likelihood = new_log_likelihood
    return DawidSkene(label_probs, error_rates, priors, log_likelihood, n_iterations, has_converged)


# -- steps ------------------------------------------------------------------------------------------------------


def _vote_shares(
    item_index: np.ndarray, label_index: np.ndarray, n_items: int, n_labels: int
) -> Float[np.ndarray, "N L"]:
    """Vote shares; an item without votes starts undecided."""
    flat = np.bincount(item_index * n_labels + label_index, minlength=n_items * n_labels)
    counts = flat.reshape(n_items, n_labels)
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.full(counts.shape, 1 / n_labels), where=totals > 0)


def _m_step(
    votes: sparse.csr_array, label_probs: Float[np.ndarray, "N L"], n_annotators: int
) -> tuple[Float[np.ndarray, " L"], Float[np.ndarray, "M L L"]]:
    n_labels = label_probs.shape[1]
    said_given_true = (votes @ label_probs).reshape(n_annotators, n_labels, n_labels)
    expected = np.maximum(said_given_true.transpose(0, 2, 1), TINY)  # [annotator, true, said]
    priors = np.maximum(label_probs.sum(axis=0), TINY)
    return priors / priors.sum(), expected / expected.sum(axis=2, keepdims=True)


def _e_step(
    votes: sparse.csr_array, priors: Float[np.ndarray, " L"], error_rates: Float[np.ndarray, "M L L"]
) -> tuple[Float[np.ndarray, "N L"], float]:
    """Posterior of the true labels and the log-likelihood of all votes, Σ_i log Σ_t π_t Π θ."""
    log_rates = np.log(error_rates).transpose(0, 2, 1).reshape(-1, len(priors))  # [annotator · said, true]
    joint = np.log(priors) + votes.T @ log_rates
    top = joint.max(axis=1, keepdims=True)
    shares = np.exp(joint - top)  # once for both results; every rate has a floor, so all is finite
    totals = shares.sum(axis=1, keepdims=True)
    return shares / totals, float((top + np.log(totals)).sum())
