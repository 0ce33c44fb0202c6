"""Settings of `accord multiesc`. Imports nothing heavy: this is what --help reads."""

from dataclasses import dataclass


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
class FeedbackSettings:
    """How the predictor of a seeker's feedback is trained."""

    model: str = "builtin:minilm"
    """Encoder of the turns: a BERT, as local path, Hub id, or builtin:NAME."""
    vad: str = ""
    """File of the NRC-VAD lexicon, your own copy; "none" does without: the emotion of every token is unknown."""
    max_turns: int = 64
    """Turns that are read; of more the last ones."""
    max_turn_tokens: int = 32
    """Tokens of a turn that are read; a longer one loses its end."""
    epochs: int = 3
    """Passes over the training examples at most."""
    batch_size: int = 32
    """Sequences of strategies per optimiser step."""
    micro_batch_size: int = 8
    """Sequences of strategies read at one time."""
    learning_rate: float = 5e-5
    """First learning rate of AdamW; it falls linearly to 0."""
    eval_every: int = 50
    """Steps between validations."""
    patience: int = 5
    """Stop after so many validations without a better one."""
    dev_fraction: float = 0.1
    """Share of the groups held out for validation where no row has split dev."""
