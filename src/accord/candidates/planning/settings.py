"""Settings of `accord multiesc`. Imports nothing heavy: this is what --help reads."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MultiEscSettings:
    """What a MultiESC generator starts from."""

    vad: str = ""
    """File of the NRC-VAD lexicon, your own copy; "none" does without: the emotion of every token is unknown."""
