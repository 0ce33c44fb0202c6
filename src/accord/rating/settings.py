"""Settings of `accord rate`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class RateSettings:
    """What a study is: fixed when it is made."""

    form: str = "emotional-support"
    """What is asked: emotional-support, rule-of-thumb, acceptable, or a YAML file of your own."""
    annotators_per_item: int = 3
    """How many annotators are to rate each text."""
    tasks_per_annotator: int | None = None
    """The most prompts one annotator is given; default: as many as there is something to rate."""
    repeats: int = 0
    """Pages shown a second time to each annotator, for self-consistency; never a second vote."""
    order: Literal["shuffled", "suggest"] = "shuffled"
    """Which prompt comes next among the fewest rated; suggest: as in --suggestions, for outputs of one system only."""
    min_seconds: float = 2.0
    """Pages answered in less time per text are flagged."""
    title: str | None = None
    """Of the study, for the admin page; default: the form's title."""


@dataclass(frozen=True)
class ServeSettings:
    """Where the pages are served; may differ from one start to the next."""

    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback can be reached by others and is warned about."""
    port: int = 8765
    """Port to listen on; 0 takes a free one."""
    public_url: str | None = None
    """How browsers reach the server, if not as http://HOST:PORT (a proxy, a tunnel, host 0.0.0.0)."""
