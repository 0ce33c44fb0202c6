"""Settings of `accord fit`. Imports nothing heavy: this is what --help reads."""

from dataclasses import dataclass
from typing import Literal

ObjectiveName = Literal[
    "votes",
    "soft_kl",
    "soft_mse",
    "majority",
    "beta_binomial",
    "votes_noise",
    "dpm_qr",
    "dpm_rq",
    "dpm_em",
    "dpm_free_energy",
]


@dataclass(frozen=True)
class FitSettings:
    """How a preference model is fitted."""

    model: str = "builtin:minilm"
    """Pretrained encoder: local path, Hub id or builtin:minilm; lexical:tfidf is TF-IDF with logistic regression."""
    tuning: Literal["head", "prefix", "lora", "full"] = "head"
    """What is trained: a head on the frozen encoder's cached vectors alone; or also a prefix of keys and values before
    every layer, low-rank adapters (merged when saved), or all of the encoder's weights."""
    objective: ObjectiveName = "votes"
    """What is minimised in training; checkpoints are always selected on held-out vote log-loss."""
    classes: Literal["acceptance", "labels"] = "acceptance"
    """Predict acceptable against unacceptable, or every label of the scheme."""
    annotators: tuple[str, ...] = ()
    """Only these annotators vote; glob patterns, e.g. "A*". Empty: all."""
    traits: tuple[str, ...] = ()
    """Only annotators with these traits vote, each TRAIT=VALUE, e.g. "country=uk". Empty: all."""
    groups: tuple[str, ...] = ()
    """Only votes on items of these groups count; glob patterns, "!12" leaves group 12 out. Empty: all."""
    pooling: Literal["completion_mean", "first_token"] = "completion_mean"
    """Mean over the completion's tokens, or the first token's vector."""
    encoder_layers: int | None = None
    """Use only so many of the encoder's layers, the lower ones; a middle layer keeps more of the wording. Null: all."""
    normaliser: str = "chunk:8"
    """d-PM objectives: where the average prediction comes from; chunk:G, ema, dataset or none."""
    smoothing: float = 0.1
    """d-PM objectives: added to every label's count in the prior."""
    consensus: Literal["midpoint", "uniform"] = "midpoint"
    """Graded consensus (a share scheme): each grade as the middle of its interval, or a seeded draw inside it."""
    max_length: int = 256
    """Tokens of prompt and completion together; a longer prompt loses its beginning."""
    head_size: int = 64
    """Width of the head's hidden layer."""
    dropout: float = 0.3
    """Dropout before each layer of the head."""
    lora_rank: int = 8
    """Rank of the adapters (tuning lora)."""
    prefix_length: int = 10
    """Keys and values that every layer sees before those of the text (tuning prefix)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the training passes through the encoder (not for head); weights and scores stay float32."""
    learning_rate: float | None = None
    """First learning rate of the encoder's part, and of the head where it is trained alone; decays linearly to 0.
    Null: 1e-3 for head, 1e-2 for prefix, 5e-4 for lora, 1e-4 for full."""
    head_learning_rate: float = 1e-3
    """First learning rate of the head beside a prefix, adapters or the whole encoder."""
    weight_decay: float | None = None
    """AdamW's weight decay on matrices. Null: 3 for head, 0 for prefix, 0.01 for lora and full."""
    epochs: int = 20
    """Passes over the training items, at most."""
    batch_size: int = 64
    """Items in one training step."""
    micro_batch_size: int = 16
    """Items in one forward pass, at most (not for head, whose steps are whole); with chunk:G a multiple of G."""
    eval_every: int = 20
    """Steps between two evaluations on the dev split."""
    patience: int = 10
    """Stop after this many evaluations without a lower held-out vote log-loss."""
    n_folds: int = 5
    """Folds, by group, of the out-of-fold predictions behind the posterior shares."""
    n_resamples: int = 1000
    """Bootstrap resamples behind each interval."""
    batch_tokens: int = 8192
    """Padded tokens in one batch without gradient, at most; on a CPU at most 1,024."""

    @property
    def resolved_learning_rate(self) -> float:
        """`learning_rate`, or the tuning's own."""
        default = {"head": 1e-3, "prefix": 1e-2, "lora": 5e-4, "full": 1e-4}[self.tuning]
        return default if self.learning_rate is None else self.learning_rate

    @property
    def resolved_weight_decay(self) -> float:
        """`weight_decay`, or the tuning's own."""
        default = {"head": 3.0, "prefix": 0.0, "lora": 0.01, "full": 0.01}[self.tuning]
        return default if self.weight_decay is None else self.weight_decay

    @property
    def resolved_micro_batch_size(self) -> int:
        """`micro_batch_size`; the cached vectors of a step (tuning head) are one micro-batch."""
        return self.batch_size if self.tuning == "head" else self.micro_batch_size
