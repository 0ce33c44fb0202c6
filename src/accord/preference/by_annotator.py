"""Models that know who voted: a text layer that all annotators share, and something of each annotator's own.

annotator_heads.py, pluralistic.py and variational.py differ in what is an annotator's own; all else is here. S *runs*
(folds) are trained side by side on the frozen encoder's vectors, with the one training loop.

What they predict is the share for a fresh vote of the panel: the mean over annotators, each as often as it votes.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor, nn

from accord.errors import ConfigError
from accord.preference.head import HeadTraining, standardisation
from accord.preference.labelled import Annotations
from accord.preference.model import PreferenceHead, base_rate_logits, drop
from accord.statistics.proper_scores import vote_log_loss
from accord.training.batches import step_indices, steps_per_epoch
from accord.training.loop import LossSum, train

OWN_RATE = 10.0
"""What is an annotator's own learns at so many times the shared layer's rate, since few votes move it."""
MOST_PROBS = 4_000_000
"""Probabilities, items × annotators, that are held at once."""


class RunVotes(NamedTuple):
    """Single votes of several runs: run, position of the item in the run's batch, annotator, whether it accepts."""

    run: Int[Tensor, " V"]
    position: Int[Tensor, " V"]
    annotator: Int[Tensor, " V"]
    is_acceptable: Float[Tensor, " V"]


class VoteTerms(NamedTuple):
    """Per vote: the log-odds that this annotator accepts this item, and what the annotator costs for being unlike the
    panel (−log of a prior, or its divergence from one, in nats)."""

    logits: Float[Tensor, " V"]
    prior_loss: Float[Tensor, " V"]


class OwnPart(Protocol):
    """What is an annotator's own, for S runs and M annotators; a torch module.

    `n_outputs`: how many numbers D of an item it reads from the shared layer.
    """

    n_outputs: int

    def start_at(self, log_odds: Float[Tensor, " S"], output_bias: Float[Tensor, "S D"]) -> None:
        """Set in place what makes a panel that accepts this often: the shared layer's bias, or something of its own."""

    def vote_terms(
        self, outputs: Float[Tensor, "V D"], runs: Int[Tensor, " V"], annotators: Int[Tensor, " V"]
    ) -> VoteTerms:
        """What training minimises for votes of these annotators on these items."""

    def panel_probs(self, outputs: Float[Tensor, "B D"], run: int) -> Float[Tensor, "B M"]:
        """The probability that each annotator accepts each item, after training."""


class AnnotatorData(NamedTuple):
    """What S runs learn from: the frozen encoder's `features` [N, F]; `annotations`, the votes that may be seen;
    per run, the items to be trained on and those to be selected on."""

    features: Float[Tensor, "N F"]
    annotations: Annotations
    train_rows: Sequence[Int[np.ndarray, " n"]]
    held_out_rows: Sequence[Int[np.ndarray, " n"]]

    @property
    def n_annotators(self) -> int:
        return int(self.annotations.annotator_index.max()) + 1

    def of_run(self, run: int) -> Annotations:
        """The votes that a run is trained on."""
        of_run = np.isin(self.annotations.item_index, self.train_rows[run])
        return Annotations(*(values[of_run] for values in self.annotations))


class SharedLayer(nn.Module):
    """Standardise → Linear → tanh → Linear with dropout before each Linear, S of them: [S, B, F] -> [S, B, D].

    All start as a head of the same seed does. Biases are kept flat, so that the loop knows them for biases.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, data: AnnotatorData, n_outputs: int, *, head_size: int, dropout: float, seed: int) -> None:
        super().__init__()
        moments = [standardisation(data.features[rows]) for rows in data.train_rows]
        n_runs, n_features = len(moments), data.features.shape[1]
        start = PreferenceHead(n_features, head_size, n_outputs, dropout=0.0)
        start.initialise(seed)
        self.register_buffer("mean", torch.stack([mean for mean, _ in moments]))
        self.register_buffer("scale", torch.stack([scale for _, scale in moments]))
        self.hidden_weight = nn.Parameter(start.hidden.weight.detach().repeat(n_runs, 1, 1))
        self.hidden_bias = nn.Parameter(torch.zeros(n_runs * head_size))
        self.output_weight = nn.Parameter(start.output.weight.detach().repeat(n_runs, 1, 1))
        self.output_bias = nn.Parameter(torch.zeros(n_runs * n_outputs))
        self.dropout = dropout

    def forward(self, features: Float[Tensor, "S B F"]) -> Float[Tensor, "S B D"]:
        rate = self.dropout if self.training else 0.0
        n_runs, width = len(self.mean), features.shape[1]
        of_features, of_hidden = (
            drop(torch.ones(width, size), rate) for size in (features.shape[2], self.hidden_weight.shape[1])
        )  # the same for all runs, which have the same seed
        standard = (features - self.mean[:, None]) / self.scale[:, None] * of_features
        hidden = torch.baddbmm(
            self.hidden_bias.view(n_runs, -1, 1), self.hidden_weight, standard.transpose(1, 2)
        ).tanh()
        hidden = hidden * of_hidden.T
        return torch.baddbmm(self.output_bias.view(n_runs, -1, 1), self.output_weight, hidden).transpose(1, 2)

    def of_run(self, features: Float[Tensor, "N F"], run: int) -> Float[Tensor, "N D"]:
        """One run's outputs, without dropout."""
        n_runs = len(self.mean)
        hidden = F.linear(
            (features - self.mean[run]) / self.scale[run],
            self.hidden_weight[run],
            self.hidden_bias.view(n_runs, -1)[run],
        ).tanh()
        return F.linear(hidden, self.output_weight[run], self.output_bias.view(n_runs, -1)[run])


class AnnotatorModel(nn.Module):
    """The shared layer, what is each annotator's own, and how many votes each of them has, `n_votes` [S, M]."""

    n_votes: Tensor

    def __init__(self, shared: SharedLayer, own: nn.Module, n_votes: Float[Tensor, "S M"]) -> None:
        super().__init__()
        self.shared, self.own = shared, own
        self.register_buffer("n_votes", n_votes)

    @torch.no_grad()
    def start_at_base_rate(self, data: AnnotatorData) -> None:
        """Before training: every run begins where its own votes' share of acceptance is (`base_rate_logits`)."""
        of_runs = [torch.from_numpy(data.of_run(run).is_acceptable) for run in range(len(data.train_rows))]
        logits = torch.stack([base_rate_logits(torch.stack([~accepts, accepts], dim=1).float()) for accepts in of_runs])
        bias = self.shared.output_bias.view(len(of_runs), -1)
        self._own.start_at((logits[:, 1] - logits[:, 0]).to(bias), bias)

    @torch.no_grad()
    def panel_probs(self, features: Float[Tensor, "N F"], run: int) -> Float[Tensor, "N M"]:
        """The probability that each annotator accepts each item, by the model of one run."""
        return self._own.panel_probs(self.shared.of_run(features, run), run)

    @torch.no_grad()
    def acceptance(self, features: Float[Tensor, "N F"], run: int) -> Float[Tensor, " N"]:
        """The share for a fresh vote of the panel."""
        weights = self.n_votes[run] / self.n_votes[run].sum()
        chunks = torch.split(features, max(1, MOST_PROBS // len(weights)))
        return torch.cat([self.panel_probs(chunk, run) @ weights for chunk in chunks])

    def summed_loss(self, features: Float[Tensor, "S B F"], votes: RunVotes) -> Float[Tensor, ""]:
        """Σ over votes of log-loss and prior; an annotator's prior is spread over its votes, so that it counts once."""
        outputs = self.shared(features)[votes.run, votes.position]
        logits, prior_loss = self._own.vote_terms(outputs, votes.run, votes.annotator)
        loss = F.binary_cross_entropy_with_logits(logits, votes.is_acceptable, reduction="sum")
        return loss + (prior_loss / self.n_votes[votes.run, votes.annotator]).sum()

    @property
    def _own(self) -> OwnPart:
        return self.own  # type: ignore[return-value]  # a module by its type, an OwnPart by its making


def require_annotators(name: str, annotations: Annotations | None) -> Annotations:
    """The annotations of data whose annotators are known.

    Raises:
        ConfigError: they are unknown, or there is but one.
    """
    if annotations is None:
        raise ConfigError(
            f"{name} learns who votes how, but annotators are unknown here. Name the annotator of every annotation, "
            "or use an objective, such as votes."
        )
    n_annotators = len(np.unique(annotations.annotator_index))
    if n_annotators < 2:
        raise ConfigError(f"{name} learns how annotators differ, but {n_annotators} voted here. Use objective votes.")
    return annotations


def fit_by_annotator(
    data: AnnotatorData, own: nn.Module, *, n_outputs: int, seed: int, training: HeadTraining
) -> AnnotatorModel:
    """Train all runs side by side; keep the step with the lowest log-loss of held-out votes, the mean over runs.

    Held-out votes are predicted as a fresh annotator's: by the panel's mean, not by who cast them.

    Raises:
        ConfigError: a run has no votes to be trained or selected on.
    """
    shared = SharedLayer(data, n_outputs, head_size=training.head_size, dropout=training.dropout, seed=seed)
    model = AnnotatorModel(shared, own, _votes_of_annotators(data))
    model.start_at_base_rate(data)
    votes_of_item = _VotesOfItems(data.annotations, len(data.features))
    counts = votes_of_item.counts(data.held_out_rows)

    def loss_of(batches: Sequence[np.ndarray]) -> LossSum:
        width = max(len(batch) for batch in batches)
        index = np.stack([np.pad(batch, (0, width - len(batch))) for batch in batches])
        votes = votes_of_item.votes(batches)
        return LossSum(model.summed_loss(data.features[index], votes), float(len(votes.run)))

    def evaluate() -> Mapping[str, float]:
        return {
            "log_loss": float(np.mean([_held_out_loss(model, data, run, counts[run]) for run in range(len(counts))]))
        }

    train(
        model,
        loss_of=loss_of,
        micro_batches_at=lambda step: [
            [rows[step_indices(len(rows), training.batch_size, step, seed=seed)] for rows in data.train_rows]
        ],
        n_steps=training.epochs * max(steps_per_epoch(len(rows), training.batch_size) for rows in data.train_rows),
        evaluate=evaluate,
        select_on="log_loss",
        eval_every=training.eval_every,
        patience=training.patience,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        seed=seed,
        checkpoint_dir=None,
        label="Fitting annotators",
        learning_rate_of=lambda name: training.learning_rate * (OWN_RATE if name.startswith("own.") else 1.0),
    )
    return model.eval()


# -- steps ------------------------------------------------------------------------------------------------------


class _VotesOfItems:
    """Single votes in the order of items, so that a batch's votes are found without a search."""

    def __init__(self, annotations: Annotations, n_items: int) -> None:
        order = np.argsort(annotations.item_index, kind="stable")
        self._annotator = annotations.annotator_index[order]
        self._is_acceptable = annotations.is_acceptable[order]
        self._starts = np.searchsorted(annotations.item_index[order], np.arange(n_items + 1))

    def counts(self, rows_of_runs: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Per run, the numbers of accepting and of all votes of its rows."""
        total = np.concatenate([[0], np.cumsum(self._is_acceptable)])
        return [
            (total[self._starts[rows + 1]] - total[self._starts[rows]], self._starts[rows + 1] - self._starts[rows])
            for rows in rows_of_runs
        ]

    def votes(self, batches: Sequence[np.ndarray]) -> RunVotes:
        rows = np.concatenate(batches)
        n_votes = self._starts[rows + 1] - self._starts[rows]
        first = np.repeat(self._starts[rows] - np.concatenate([[0], np.cumsum(n_votes)[:-1]]), n_votes)
        chosen = first + np.arange(n_votes.sum())
        run = np.repeat(np.arange(len(batches)), [len(batch) for batch in batches])
        position = np.concatenate([np.arange(len(batch)) for batch in batches])
        return RunVotes(
            torch.from_numpy(np.repeat(run, n_votes)),
            torch.from_numpy(np.repeat(position, n_votes)),
            torch.from_numpy(self._annotator[chosen].astype(np.int64)),
            torch.from_numpy(self._is_acceptable[chosen].astype(np.float32)),
        )


def _votes_of_annotators(data: AnnotatorData) -> Float[Tensor, "S M"]:
    """How many training votes each annotator has in each run."""
    counts = [
        np.bincount(data.of_run(run).annotator_index, minlength=data.n_annotators)
        for run in range(len(data.train_rows))
    ]
    for run, held_out in enumerate(data.held_out_rows):
        if counts[run].sum() == 0 or not np.isin(data.annotations.item_index, held_out).any():
            raise ConfigError(
                f"Fold {run} has no votes to be trained or to be selected on; expected some. Use fewer folds."
            )
    return torch.tensor(np.stack(counts), dtype=torch.float32)


def _held_out_loss(
    model: AnnotatorModel, data: AnnotatorData, run: int, counts: tuple[np.ndarray, np.ndarray]
) -> float:
    n_acceptable, n_votes = counts
    share = model.acceptance(data.features[data.held_out_rows[run]], run).double().clamp(1e-7, 1 - 1e-7).numpy()
    logits = np.log(share) - np.log1p(-share)
    return float(vote_log_loss(logits, n_acceptable, n_votes).sum() / n_votes.sum())
