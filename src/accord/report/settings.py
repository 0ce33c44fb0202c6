"""Settings of `accord report`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReportSettings:
    """What the report shows."""

    title: str = "accord report"
    """Heading of the page."""
    n_contested: int = 8
    """How many of the most contested items are listed."""
    n_candidate_prompts: int = 2
    """For how many prompts all candidates are listed: those whose scores lie furthest apart."""
    n_changes: int = 4
    """How many of the prompts that changed most are shown, of the worst losses and of the greatest gains each."""
    n_examples: int = 6
    """How many prompts are shown with every system's output side by side."""
