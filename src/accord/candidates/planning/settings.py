"""Settings of `accord multiesc`. Imports nothing heavy: this is what --help reads."""

from dataclasses import dataclass

from accord.training.settings import LoopSettings


@dataclass(frozen=True)
class MultiEscSettings:
    """What a MultiESC generator starts from."""

    vad: str = ""
    """File of the NRC-VAD lexicon, your own copy; "none" does without: the emotion of every token is unknown."""


@dataclass(frozen=True)
class SequenceSettings:
    """How far sequences of strategies look ahead."""

    horizon: int = 5
    """Strategies in a sequence, that of the reply counted."""


@dataclass(frozen=True)
class FeedbackInputSettings:
    """What the predictor of a seeker's feedback starts from and reads, and who is held out."""

    model: str = "builtin:minilm"
    """Encoder of the turns: a BERT, as local path, Hub id, or builtin:NAME."""
    vad: str = ""
    """File of the NRC-VAD lexicon, your own copy; "none" does without: the emotion of every token is unknown."""
    max_turns: int = 64
    """Turns that are read; of more the last ones."""
    max_turn_tokens: int = 32
    """Tokens of a turn that are read; a longer one loses its end."""
    dev_fraction: float = 0.1
    """Share of groups held out for validation where no row has split `dev`."""


@dataclass(frozen=True)
class FeedbackSettings(LoopSettings, FeedbackInputSettings):
    """How the predictor of a seeker's feedback is trained."""

    learning_rate: float = 5e-5
    """Peak learning rate of AdamW; linear decay to 0."""
    weight_decay: float = 0.01
    """Weight decay on the trained matrices."""
    batch_size: int = 32
    """Sequences of strategies per step."""
    micro_batch_size: int = 8
    """Sequences of strategies read at once; changes memory and speed, not the step."""
    patience: int | None = 5
    """Stop after this many validations without a better one; null never stops early."""
