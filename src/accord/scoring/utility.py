"""From acceptance to the score a text is ranked by.

A monotone map of acceptance alone changes no rank, so no rank-margin loss (the paper's own remark, §3.3). Utilities
that can change ranks need to know more: how sure the model is of the share (a `beta_binomial` model), or what each
group of annotators would say (a model for each, `worst_group`).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import special

from accord.errors import ConfigError
from accord.preference.predict import (
    MAX_TOKENS_PER_BATCH,
    AcceptanceModel,
    AcceptancePrediction,
    load_acceptance_model,
)
from accord.records import Prompt

CONSENSUS_SIZE = 3
CREDIBLE_LEVEL = 0.9
WORST_GROUP = "worst_group"

Utility = Callable[[np.ndarray, np.ndarray | None], np.ndarray]


def acceptance_utility(logits: np.ndarray, concentration: np.ndarray | None) -> np.ndarray:  # noqa: ARG001 -- one signature
    """Acceptance in [0, 1] from its logit [N], in float64: distinct up to |logit| = 36."""
    return special.expit(logits.astype(np.float64))


def logit_utility(logits: np.ndarray, concentration: np.ndarray | None) -> np.ndarray:  # noqa: ARG001 -- one signature
    """The logit of acceptance [N]; never saturates."""
    return logits.astype(np.float64)


def lower_bound_utility(logits: np.ndarray, concentration: np.ndarray | None) -> np.ndarray:
    """Lower end of the 90 % credible interval of the share under Beta(μκ, (1 − μ)κ), [N].

    Raises:
        ConfigError: the preference model has no κ.
    """
    mean, kappa = special.expit(logits.astype(np.float64)), _required(concentration, "lower_bound")
    return special.betaincinv(mean * kappa, (1 - mean) * kappa, (1 - CREDIBLE_LEVEL) / 2)


def consensus_utility(logits: np.ndarray, concentration: np.ndarray | None) -> np.ndarray:
    """E[ρ³] under Beta(μκ, (1 − μ)κ), the chance that three random people all accept, [N].

    E[ρ^k] = Π_{j<k} (μκ + j) / (κ + j). With κ fixed it is monotone in μ.

    Raises:
        ConfigError: the preference model has no κ.
    """
    mean, kappa = special.expit(logits.astype(np.float64)), _required(concentration, "consensus")
    return np.prod([(mean * kappa + j) / (kappa + j) for j in range(CONSENSUS_SIZE)], axis=0)


class WorstGroupModel(NamedTuple):
    """Several `AcceptanceModel`s, each of one group of annotators, as one: the lowest of their acceptances.

    The lowest of several uncertain numbers is on average below the lowest of the true ones, most where the groups
    differ little: a cautious score, and no estimate for any one group.
    """

    groups: tuple[AcceptanceModel, ...]

    @property
    def has_concentration(self) -> bool:
        return False

    def acceptance(
        self, pairs: Sequence[tuple[Prompt, str]], *, max_tokens_per_batch: int = MAX_TOKENS_PER_BATCH
    ) -> AcceptancePrediction:
        """The lowest acceptance of each (prompt, completion), in order; a text counts as cut if any model cut it."""
        found = [group.acceptance(pairs, max_tokens_per_batch=max_tokens_per_batch) for group in self.groups]
        return AcceptancePrediction(
            np.min([of_group.logits for of_group in found], axis=0),
            n_prompts_cut=max(of_group.n_prompts_cut for of_group in found),
            n_completions_cut=max(of_group.n_completions_cut for of_group in found),
        )


UTILITIES: dict[str, Utility] = {
    "acceptance": acceptance_utility,
    "logit": logit_utility,
    "lower_bound": lower_bound_utility,
    "consensus": consensus_utility,
    WORST_GROUP: acceptance_utility,
}
"""Name -> score of what the judge predicts; the judge of `worst_group` is a `WorstGroupModel`."""


def load_judge(preferences: Sequence[Path | str], *, utility: str) -> AcceptanceModel:
    """The preference model that a utility scores with: one, or for `worst_group` one of each group of annotators.

    Raises:
        ConfigError: another number of models than the utility needs. ArtifactError: no finished preference model.
    """
    if utility == WORST_GROUP and len(preferences) < 2:
        raise _needs_groups(f"got {len(preferences)} model")
    if utility != WORST_GROUP and len(preferences) != 1:
        raise ConfigError(
            f"utility {utility!r} scores with one preference model, and got {len(preferences)}. Pass one, or use "
            f"--utility {WORST_GROUP}, the acceptance of the group that accepts least."
        )
    judges = tuple(load_acceptance_model(preference) for preference in preferences)
    return WorstGroupModel(judges) if utility == WORST_GROUP else judges[0]


def check_judge(judge: AcceptanceModel, *, utility: str) -> None:
    """Refuse a utility that the judge cannot give.

    Raises:
        ConfigError: an unknown utility, one that needs a concentration, or one that needs several models.
    """
    if utility not in UTILITIES:
        raise ConfigError(f"utility {utility!r} is unknown. Expected one of {', '.join(UTILITIES)}.")
    if utility == WORST_GROUP and not isinstance(judge, WorstGroupModel):
        raise _needs_groups("got the model of one")
    UTILITIES[utility](np.zeros(1), np.ones(1) if judge.has_concentration else None)


def _needs_groups(found: str) -> ConfigError:
    return ConfigError(
        f"utility {WORST_GROUP!r} needs the preference models of several groups of annotators, and {found}. Fit one "
        "for each (accord fit ITEMS --traits country=uk, ...) and pass --preference once for each."
    )


def _required(concentration: np.ndarray | None, utility: str) -> np.ndarray:
    if concentration is None:
        raise ConfigError(
            f"utility {utility!r} needs to know how sure the model is of the share, and this preference model has no "
            "concentration. Fit it with --objective beta_binomial, or use --utility acceptance."
        )
    return concentration.astype(np.float64)
