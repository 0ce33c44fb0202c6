"""Settings of `accord score`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ScoreSettings:
    """How texts are scored with a preference model."""

    utility: Literal["acceptance", "logit", "lower_bound", "consensus", "worst_group"] = "acceptance"
    """What a score is: the predicted acceptance, its logit, (beta_binomial models only) its lower credible bound
    or the chance that three random people all accept, or (several models, each of one group of annotators) the
    acceptance of the group that accepts least."""
    batch_tokens: int = 8192
    """Padded tokens in one batch, at most; on a CPU at most 1,024."""
