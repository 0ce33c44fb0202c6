"""Settings of `accord calibrate`, `accord tune` and `accord export pairs`.

The flags of a verb come in the order of its class's bases, from the last to the first; what the class itself says
again is another default or another help text of the same flag.
"""

from dataclasses import dataclass
from typing import Literal

from accord.candidates.settings import GeneratorSettings
from accord.training.settings import LoopSettings


@dataclass(frozen=True)
class AdapterSettings:
    """Which weights of a generator are trained (see `trained_part`)."""

    tuning: Literal["lora", "full"] = "lora"
    """Which weights are trained: a LoRA adapter on every linear map of the chosen layers, or all weights."""
    lora_layers: Literal["upper_third", "all"] = "upper_third"
    """Layers that carry the adapter: the upper third (of the decoder, where there is an encoder too), or all."""
    lora_r: int = 16
    """Rank of the adapter."""
    lora_alpha: float = 32.0
    """The adapter's output is scaled by lora_alpha / lora_r."""
    lora_dropout: float = 0.0
    """Dropout before the adapter."""


@dataclass(frozen=True)
class ObjectiveSettings:
    """What calibration learns, from whom, and who is held out."""

    objective: Literal["ranking_margin", "dpo", "rloo"] = "ranking_margin"
    """What is learnt: the ranking of a prompt's candidates, its best against its worst candidate (dpo), or the reward
    of completions drawn afresh at every step (rloo)."""
    margin: float = 0.001
    """λ: how far apart two neighbours in rank should be, in nats per token (length_exponent 1)."""
    margin_by: Literal["rank", "score"] = "rank"
    """Multiply the margin by the difference in rank (the paper) or in score."""
    tie: float = 0.0
    """Pairs whose scores differ by less are not ranked; equal scores never are."""
    pair_reduction: Literal["sum", "mean", "gap_mean"] = "sum"
    """Add up a prompt's pairs (the paper), average them, or add up the averages of pairs equally many ranks apart (the
    paper's released code)."""
    likelihood: Literal["logp", "probability"] = "logp"
    """What is ranked: a candidate's summed log-probabilities (the paper) or probabilities (its released code) of
    tokens, divided by its length."""
    length_exponent: float = 1.0
    """α: a candidate's log-probability is divided by its number of tokens to the power of α."""
    dpo_beta: float = 0.1
    """dpo: β, how firmly the generator is held to its start; larger is firmer."""
    preference_model: str | None = None
    """Folder of `accord fit` (or its model). Its score is rloo's reward; other objectives only show it of samples."""
    utility: Literal["acceptance", "logit", "lower_bound", "consensus"] = "acceptance"
    """preference_model: what its score is, as for `accord score`."""
    num_samples: int = 4
    """preference_model: completions drawn for each prompt (rloo: of a step; else of validation), at least two."""
    temperature: float = 1.0
    """preference_model: samples are drawn from (and rloo trains) logits divided by it."""
    max_new_tokens: int = 40
    """preference_model: longest completion that is drawn, end of sequence counted."""
    kl_weight: float = 0.05
    """rloo: taken off the reward for each nat by which a completion became likelier than it was at the start."""
    ranking_weight: float = 1.0
    """Weight of the objective's loss; 0 trains on the references alone (a control)."""
    reference_weight: float = 1.0
    """γ: weight of the mean negative log-probability per token of the human references."""
    score_control: Literal["none", "shuffled"] = "none"
    """`shuffled` permutes the scores within each prompt (a control)."""
    dev_fraction: float = 0.15
    """Share of groups held out for validation where no row has split `dev`."""


@dataclass(frozen=True)
class CalibrateSettings(LoopSettings, ObjectiveSettings, AdapterSettings, GeneratorSettings):
    """How a generator learns to find likely what people accept."""

    model: str = "builtin:smollm2"
    """Generator to calibrate: local path, Hub id, or builtin:NAME."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the frozen weights; what is trained always is float32."""
    system_prompt: str | None = None
    """System message put before every chat prompt; give the one that `accord generate` used."""
    learning_rate: float | None = None
    """Peak learning rate of AdamW; linear decay to 0. Null: 1e-4 for lora, 1e-5 for full."""
    epochs: float = 4.0
    """Passes over the training prompts."""
    batch_size: int = 8
    """Prompts per step."""
    micro_batch_size: int = 4
    """Prompts read at once; changes memory and speed, not the step."""
    eval_every: int = 8
    """Steps between validations."""

    @property
    def resolved_learning_rate(self) -> float:
        """`learning_rate`, or the tuning's own."""
        default = {"lora": 1e-4, "full": 1e-5}[self.tuning]
        return default if self.learning_rate is None else self.learning_rate


@dataclass(frozen=True)
class ReferenceSettings(GeneratorSettings):
    """How a generator reads a prompt and its references."""

    max_reference_tokens: int = 128
    """A longer reference loses its end, and is then not taught to end there; cut references are counted."""


@dataclass(frozen=True)
class TuningSettings:
    """What supervised tuning starts from, learns and writes, and who is held out."""

    merge_adapter: bool = True
    """lora: write the adapter merged into its base, as a whole model that `accord calibrate` can start from."""
    scratch_width: int = 256
    """scratch:NAME (bart, t5, blenderbot-small, gpt2): width of the hidden states, a multiple of 32."""
    scratch_layers: int = 3
    """scratch:NAME: layers of the encoder and of the decoder each."""
    scratch_vocabulary: int = 4096
    """scratch:NAME: tokens of the byte-level BPE tokenizer that is made of the training texts."""
    label_smoothing: float = 0.0
    """Share of each token's weight that is spread over the whole vocabulary in training; validation has none."""
    dev_fraction: float = 0.15
    """Share of groups held out for validation where no row has split `dev`."""
    max_dev_prompts: int | None = 500
    """Validate on at most so many prompts, drawn with the seed; null: on all."""


@dataclass(frozen=True)
class TuneSettings(LoopSettings, TuningSettings, AdapterSettings, ReferenceSettings):
    """How a generator learns to write what people wrote."""

    model: str = "builtin:smollm2"
    """Generator to tune: local path, Hub id, builtin:NAME, or scratch:NAME for random weights (see scratch_width)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the frozen weights; what is trained always is float32."""
    system_prompt: str | None = None
    """System message put before every chat prompt."""
    tuning: Literal["full", "lora"] = "full"
    """Which weights are trained: all, or a LoRA adapter on every linear map of the chosen layers."""
    lora_layers: Literal["upper_third", "all"] = "all"
    """Layers that carry the adapter: the upper third (of the decoder, where there is an encoder too), or all."""
    learning_rate: float | None = None
    """Peak learning rate of AdamW; linear decay to 0. Null: 2e-4 for lora, 5e-5 for full, 1e-3 from scratch."""

    @property
    def resolved_learning_rate(self) -> float:
        """`learning_rate`, or the tuning's own."""
        default = 1e-3 if self.model.startswith("scratch:") else {"lora": 2e-4, "full": 5e-5}[self.tuning]
        return default if self.learning_rate is None else self.learning_rate


@dataclass(frozen=True)
class PairsSettings:
    """How scored candidates become pairs of a chosen and a rejected completion."""

    pairing: Literal["best_worst", "all"] = "best_worst"
    """One pair a prompt, the highest score against the lowest; or every two texts of a prompt."""
    min_margin: float = 0.0
    """Leave out pairs whose scores differ by less; equal scores never make a pair."""
    format: Literal["conversational", "standard"] = "conversational"
    """Columns as lists of messages, for generators with a chat template; or as plain texts."""
    system_prompt: str | None = None
    """System message put before every prompt that has none; give the one that `accord generate` used."""
