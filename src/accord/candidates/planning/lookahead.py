"""MultiESC's lookahead planner (Cheng et al. 2022): which strategy the next reply is written after.

For strategy s, beams b_1 … b_J of strategies to come (likelihood P_j, predicted feedback F_j), and the strategies h of
the supporter so far:

    score(s) = 0.4 · P(s) + H(s) + 1.0 · Σ_{j: b_j begins with s} w_j · f_j

P(s) is the share of the beams' likelihood in those that begin with s; H(s) how often, in training, the last three
strategies of h were followed by s; f_j = F_j / Σ F, with F below 0 as 0; w_j ∝ P_j / Σ P + T_j, Σ w = 1, where T_j is
how often the last strategy of h was followed by b_j's first, times how often that was followed by b_j's second. The
planner takes the strategy of the highest score, the first in the list of equals.

1. The original takes P(s) from its generator's first token; here from the same beams as all else, so that planning
   needs no model but that of feedback.
2. T_j and the treatment of negative feedback are our reading: the original names neither exactly. A beam of one
   strategy takes one step.
3. A history shorter than three strategies counts as it is; one that training never saw gives H = 0.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from accord.candidates.generators.multiesc import STRATEGIES, known_strategy
from accord.records import Prompt, PromptRow

GENERATOR_WEIGHT = 0.4
FEEDBACK_WEIGHT = 1.0
LOOK_BACK = 3


class Beam(NamedTuple):
    """A sequence of strategies to come and Σ log p of it, in nats."""

    strategies: tuple[str, ...]
    sum_logp: float


class Transitions:
    """How often, in training, some strategies were followed by another.

    Args:
        rows: prompts whose reply has a strategy; others are left out.
    """

    def __init__(self, rows: Sequence[PromptRow]) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._starts: Counter[tuple[str, ...]] = Counter()
        for row in rows:
            if row.strategy is None:
                continue
            history = past_strategies(row.prompt)
            # the three before it, and the one before it (the same where there is one only, or none)
            for start in {history[-LOOK_BACK:], history[-1:]}:
                self._starts[start] += 1
                self._counts[(*start, known_strategy(row.strategy))] += 1

    def frequency(self, before: Sequence[str], strategy: str) -> float:
        """The share of `strategy` among what followed `before`; 0 where nothing did."""
        start = tuple(before)
        return self._counts[(*start, strategy)] / self._starts[start] if self._starts[start] else 0.0


def past_strategies(prompt: Prompt) -> tuple[str, ...]:
    """The known strategies of the supporter's turns so far, in order."""
    messages = () if isinstance(prompt, str) else prompt
    return tuple(known_strategy(one.strategy) for one in messages if one.strategy is not None and one.content)


def strategy_scores(
    history: Sequence[str],
    beams: Sequence[Beam],
    feedback: Float[np.ndarray, " J"],
    transitions: Transitions,
) -> Float[np.ndarray, " S"]:
    """score(s) of each of `STRATEGIES`; beams without a strategy have no say.

    Args:
        feedback: F_j, parallel to `beams`.
    """
    told = [number for number, beam in enumerate(beams) if beam.strategies]
    first = np.array([STRATEGIES.index(beams[number].strategies[0]) for number in told], dtype=np.int64)
    likelihood = _shares(np.exp([beams[number].sum_logp for number in told]))
    steps = np.array([_two_steps(history, beams[number].strategies, transitions) for number in told])
    lookahead = _shares(likelihood + steps) * _shares(np.maximum(feedback[told], 0.0))
    terms = GENERATOR_WEIGHT * likelihood + FEEDBACK_WEIGHT * lookahead
    scores = np.array([transitions.frequency(history[-LOOK_BACK:], name) for name in STRATEGIES])
    np.add.at(scores, first, terms)
    return scores


def planned_strategy(scores: Float[np.ndarray, " S"]) -> str:
    """The strategy of the highest score, the first of equals."""
    return STRATEGIES[int(np.argmax(scores))]


def _two_steps(history: Sequence[str], beam: Sequence[str], transitions: Transitions) -> float:
    step = transitions.frequency(history[-1:], beam[0])
    return step * transitions.frequency(beam[:1], beam[1]) if len(beam) > 1 else step


def _shares(values: Float[np.ndarray, " J"]) -> Float[np.ndarray, " J"]:
    """Divided by their sum; equal shares where all are 0."""
    total = values.sum()
    return values / total if total > 0 else np.full(len(values), 1.0 / max(1, len(values)))
