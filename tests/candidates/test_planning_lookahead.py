"""The lookahead planner, by hand."""

from math import log

import numpy as np
import pytest

from accord.candidates.generators.multiesc import STRATEGIES
from accord.candidates.planning.lookahead import Beam, Transitions, past_strategies, planned_strategy, strategy_scores
from accord.records import Message, Prompt, PromptRow

Q, R, O = "Question", "Reflection of feelings", "Others"  # noqa: E741 -- the letters of the example


def prompt(*strategies: str) -> Prompt:
    turns = [(Message("user", "hm"), Message("assistant", "oh", strategy)) for strategy in strategies]
    return (*(message for turn in turns for message in turn), Message("user", "hm"))


def row(*strategies: str) -> PromptRow:
    *past, last = strategies
    return PromptRow("-".join(strategies), prompt(*past), strategy=last)


TRAINING = [row(Q), row(Q, R), row(Q, Q), row(Q, Q, R), row(Q, Q, R, O), row(R, Q, Q, R, Q)]


def test_transitions_are_counted_after_three_strategies_and_after_one() -> None:
    """After Q: R, Q, R. After R: O, Q. After (Q, Q, R): O, and Q of the row whose first R is four back."""
    transitions = Transitions(TRAINING)
    assert transitions.frequency((), Q) == 1.0
    assert [transitions.frequency((Q,), name) for name in (Q, R, O)] == pytest.approx([1 / 3, 2 / 3, 0])
    assert [transitions.frequency((R,), name) for name in (Q, R, O)] == pytest.approx([1 / 2, 0, 1 / 2])
    assert [transitions.frequency((Q, Q, R), name) for name in (Q, R, O)] == pytest.approx([1 / 2, 0, 1 / 2])
    assert transitions.frequency((O, O, O), Q) == 0.0


def test_the_score_by_hand() -> None:
    """History Q; beams (R, O) with 0.3, (Q) with 0.1, (Q, R) with 0.1; feedback 2, 6, −1.

    P: 0.6, 0.2, 0.2, so 0.4·P(R) = 0.24, 0.4·P(Q) = 0.16. H after (Q): Q 1/3, R 2/3.
    T: R after Q, O after R: 2/3 · 1/2 = 1/3; Q after Q: 1/3; Q after Q, R after Q: 1/3 · 2/3 = 2/9. P + T: 14/15,
    8/15, 19/45, of 85/45: w = 42/85, 24/85, 19/85. f = 1/4, 3/4, 0. Lookahead: R 42/340, Q 72/340.
    """
    beams = [Beam((R, O), log(0.3)), Beam((Q,), log(0.1)), Beam((Q, R), log(0.1))]
    scores = strategy_scores((Q,), beams, np.array([2.0, 6.0, -1.0]), Transitions(TRAINING))
    expected = dict.fromkeys(STRATEGIES, 0.0)
    expected[Q] = 0.16 + 1 / 3 + 72 / 340
    expected[R] = 0.24 + 2 / 3 + 42 / 340
    assert scores == pytest.approx(list(expected.values()))
    assert planned_strategy(scores) == R


def test_feedback_can_turn_the_choice() -> None:
    beams = [Beam((R,), log(0.5)), Beam((O,), log(0.4))]
    nothing_known = Transitions([])
    assert planned_strategy(strategy_scores((), beams, np.array([1.0, 1.0]), nothing_known)) == R
    assert planned_strategy(strategy_scores((), beams, np.array([1.0, 5.0]), nothing_known)) == O


def test_beams_without_a_strategy_have_no_say() -> None:
    beams = [Beam((O,), log(0.2)), Beam((), log(0.7))]
    scores = strategy_scores((), beams, np.array([1.0, 9.0]), Transitions([]))
    assert scores[STRATEGIES.index(O)] == pytest.approx(0.4 + 1.0)
    assert strategy_scores((), [Beam((), -1.0)], np.array([9.0]), Transitions([])).tolist() == [0.0] * len(STRATEGIES)


def test_the_replys_own_strategy_is_no_history() -> None:
    assert past_strategies((*prompt("question"), Message("assistant", "", O))) == (Q,)
    assert past_strategies("hello") == ()
