"""The simulated panel: every rule has its direction, the truth is the mean over the panel, any text is defined."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.demo.pack import load_pack
from accord.demo.panel import (
    INTERCEPTS,
    STRICTNESS_SD,
    TYPE_COUNTS,
    TYPES,
    WEIGHTS,
    acceptance_by_type,
    acceptance_probability,
    cast_votes,
    panel,
    panel_acceptance,
    rules_markdown,
    true_acceptance,
)
from accord.demo.word_lists import WORDINGS
from accord.demo.wording import MEANINGS, Features, features
from accord.errors import ConfigError

MESSAGE = (
    "I lost my job three weeks ago and I haven't told my wife. "
    "I leave the house every morning in a suit and sit in the library until five."
)
GENERIC = "I'm sorry to hear that. Can you tell me more?"
WARM_AND_SPECIFIC = (
    "Every morning in that suit, and nobody knows you're sitting in the library. "
    "It sounds lonely to carry that. What makes it so hard to tell your wife?"
)
TIP_LIST = "Here are some tips: 1. Update your resume. 2. Talk to your wife. 3. Make a budget. 4. Apply for jobs daily."


def test_panel_halves_have_the_same_mix_of_types() -> None:
    for half in ("A", "B"):
        annotators = panel(half)
        assert [annotator.id for annotator in annotators] == [f"{half}{number:02d}" for number in range(1, 31)]
        assert {name: sum(a.type == name for a in annotators) for name in TYPES} == TYPE_COUNTS
    assert panel() == panel("A") + panel("B")
    strictness = np.array([annotator.strictness for annotator in panel()])
    assert abs(strictness.mean()) < 0.2
    assert strictness.std() == pytest.approx(STRICTNESS_SD, abs=0.1)


def test_every_feature_has_a_meaning_and_a_weight() -> None:
    assert list(MEANINGS) == list(Features._fields)
    assert list(WEIGHTS) == list(Features._fields)
    assert all(len(row) == len(TYPES) for row in WEIGHTS.values())
    assert len(INTERCEPTS) == len(TYPES)


def test_word_lists_can_be_matched() -> None:
    """Phrases are matched as runs of at most 5 lower-case words with straight apostrophes."""
    for name, phrases in WORDINGS.items():
        for phrase in phrases:
            assert phrase == " ".join(phrase.lower().split()), (name, phrase)
            assert 1 <= len(phrase.split()) <= 5, (name, phrase)
            assert "’" not in phrase


def test_acceptance_by_hand() -> None:
    """ "Sorry." is one word: too_short is 1, impersonal is 1, length is 1/45, and nothing else is seen."""
    found = features(MESSAGE, "Sorry.")
    seen = {name: value for name, value in found._asdict().items() if value}
    assert seen == {"impersonal": 1.0, "length": pytest.approx(1 / 45), "too_short": 1.0}
    listener = panel("A")[0]
    column = TYPES.index(listener.type)
    logit = INTERCEPTS[column] + sum(WEIGHTS[name][column] * value for name, value in seen.items())
    expected = 1 / (1 + math.exp(-(logit + listener.strictness)))
    assert acceptance_probability(listener, MESSAGE, "Sorry.") == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "without", "with_it"),
    [
        ("reflection", "That is a long day.", "That is a long day in the library, in a suit, without a job."),
        ("about_you", "That is a long day.", "You have a long day."),
        ("names_feeling", "You have a long day.", "You have a lonely day."),
        ("warmth", "That is a long day to have.", "I'm so sorry, that is a long day to have."),
        ("affirmation", "You go there each day.", "You go there each day with courage."),
        ("autonomy", "When to speak is open.", "When to speak is up to you."),
        ("permission", "There is an idea about it.", "Would it be okay if I told you an idea about it?"),
        ("open_question", "That is a long day.", "What is that long day like for you?"),
        ("closed_question", "That is a long day.", "Is that a long day?"),
        ("impersonal", "You have a long day there.", "That is a long day there."),
        ("question_pile", "What is that like for you?", "What is that like? Who knows? Is it long? Where do you eat?"),
        ("advice", "You have a long day.", "You could try a shorter day."),
        ("unasked_advice", "You have a long day.", "You could try a shorter day."),
        ("directive", "You are still silent about this.", "Speak up, and call her about this today. Call her now."),
        ("confrontation", "You are silent about this.", "It is your own fault that you are silent about this."),
        ("warning", "You are silent about this.", "If you keep silent about this you will regret it."),
        ("minimising", "You have a long day.", "You have a long day, but don't worry, time heals."),
        ("information", "A day like that is long.", "According to studies, a day like that is long."),
        ("lecture", "You have a long day.", "It's important to see that you have a long day."),
        ("stock_phrase", "I'm sorry to see that.", "I'm sorry to hear that."),
        ("gush", "You have a long day.", "You have a long day! Really! So very long!"),
        ("list_marks", "You have a day and a night.", "1. You have a day. 2. You have a night."),
        ("machine_talk", "You have a long day.", "As an AI language model I see you have a long day."),
        ("self_disclosure", "It is long when it was so.", "When I was there it was long, years ago."),
        ("wrong_role", "It is long, in a suit.", "I lost my job and my wife sees me in a suit."),
        ("length", "You have a long day.", "You have a long day, and so it goes on for you, one after the other."),
        ("too_short", "You have a long day there.", "Long."),
        ("too_long", "You have a long day.", " ".join(["You have a day of your own."] * 10)),
        ("unfinished", "You have a long day there.", "You have a long day and"),
        ("repetition", "You have a long day there.", "You have a day and you have a day and you have a day."),
        ("parroting", "You have a long day there.", "I leave the house every morning in a suit."),
        ("off_topic", "You have a long day.", "Paris has museums, restaurants, bridges, gardens, cathedrals, trams."),
        ("nonsense", "You have a long day.", "zq zq xv xv bn bn kk"),
    ],
)
def test_rule_is_seen(name: str, without: str, with_it: str) -> None:
    assert getattr(features(MESSAGE, with_it), name) > getattr(features(MESSAGE, without), name)


@pytest.mark.parametrize(
    ("name", "liked_by", "disliked_by"),
    [
        ("reflection", TYPES, ()),
        ("warmth", ("listener",), ()),
        ("autonomy", ("autonomy-minded",), ()),
        ("permission", ("listener", "problem-solver", "autonomy-minded"), ()),
        ("open_question", TYPES, ()),
        ("advice", ("problem-solver",), ()),
        ("unasked_advice", (), ("listener", "autonomy-minded", "plain-speaker")),
        ("directive", (), ("listener", "autonomy-minded")),
        ("confrontation", (), TYPES),
        ("warning", (), TYPES),
        ("minimising", (), TYPES),
        ("information", ("problem-solver",), ("listener", "plain-speaker")),
        ("lecture", (), TYPES),
        ("gush", (), TYPES),
        ("list_marks", ("problem-solver",), ("listener", "autonomy-minded", "plain-speaker")),
        ("length", ("listener",), ("plain-speaker",)),
        *[
            (name, (), TYPES)
            for name in (
                "question_pile machine_talk wrong_role too_short too_long unfinished repetition parroting off_topic "
                "nonsense"
            ).split()
        ],
    ],
)
def test_rule_has_its_direction(name: str, liked_by: tuple[str, ...], disliked_by: tuple[str, ...]) -> None:
    weights = dict(zip(TYPES, WEIGHTS[name], strict=True))
    assert all(weights[kind] > 0 for kind in liked_by)
    assert all(weights[kind] < 0 for kind in disliked_by)


def test_advice_counts_as_unasked_unless_asked_for_or_offered() -> None:
    advice = "You could try a shorter day."
    assert features(MESSAGE, advice).unasked_advice > 0
    assert features(MESSAGE + " What should I do?", advice).unasked_advice == 0
    assert features(MESSAGE, "Would you like to hear an idea? " + advice).unasked_advice == 0


@pytest.mark.parametrize(
    "reply",
    [
        "You must be exhausted after such a day.",
        "You should be proud of that.",
        "Take your time.",
        "Tell me more about the library.",
        "You don't have to decide anything today.",
    ],
)
def test_kind_sentences_are_no_directives(reply: str) -> None:
    assert features(MESSAGE, reply).directive == 0


def test_typical_replies_land_where_they_should() -> None:
    assert 0.55 < true_acceptance(MESSAGE, GENERIC) < 0.7
    assert 0.8 < true_acceptance(MESSAGE, WARM_AND_SPECIFIC) < 0.95
    assert 0.15 < true_acceptance(MESSAGE, TIP_LIST) < 0.3
    assert true_acceptance(MESSAGE, "As an AI language model, I have no feelings.") < 0.1
    by_type = acceptance_by_type(MESSAGE, TIP_LIST)
    assert by_type["problem-solver"] > 0.7
    assert by_type["autonomy-minded"] < 0.1


@pytest.mark.parametrize("reply", ["", "   \n", "!!!", "?", "🙂🙂🙂"])
def test_empty_replies_are_refused(reply: str) -> None:
    assert true_acceptance(MESSAGE, reply) < 0.02


def test_tricks_do_not_pay() -> None:
    swapped = "You lost your job three weeks ago and you haven't told your wife."
    stacked = "I'm so sorry. I'm here for you. I'm glad you told me. I hear you. You're brave. I care. My heart!"
    for trick in (MESSAGE, swapped, stacked, "library wife suit job library wife suit job", WARM_AND_SPECIFIC * 4):
        assert true_acceptance(MESSAGE, trick) < 0.4, trick


def test_features_saturate() -> None:
    once = "I'm so sorry. I'm glad you wrote."
    assert features(MESSAGE, once).warmth == 1.0
    assert features(MESSAGE, once + " I'm here. I hear you. I'm listening.").warmth == 1.0
    assert true_acceptance(MESSAGE, once) > true_acceptance(
        MESSAGE, once + " I'm here. I hear you. I'm listening. I care."
    )


def test_truth_is_the_mean_over_all_sixty() -> None:
    for reply in (GENERIC, WARM_AND_SPECIFIC, TIP_LIST, ""):
        one_by_one = [acceptance_probability(annotator, MESSAGE, reply) for annotator in panel()]
        np.testing.assert_allclose(panel_acceptance(MESSAGE, reply), one_by_one, rtol=1e-12)
        assert true_acceptance(MESSAGE, reply) == pytest.approx(np.mean(one_by_one), rel=1e-12)
        by_type = acceptance_by_type(MESSAGE, reply)
        weighted = sum(by_type[name] * count for name, count in TYPE_COUNTS.items()) / 30
        assert weighted == pytest.approx(true_acceptance(MESSAGE, reply), rel=1e-12)


@settings(max_examples=200, deadline=None)
@given(message=st.text(max_size=200), reply=st.text(max_size=300))
def test_any_text_has_a_probability(message: str, reply: str) -> None:
    assert all(0.0 <= value <= 1.0 for value in features(message, reply))
    for annotator in panel()[::7]:
        assert 0.0 < acceptance_probability(annotator, message, reply) < 1.0


WORDS = sorted(
    WORDINGS["warmth"] | WORDINGS["imperatives"] | WORDINGS["you_words"] | set(MESSAGE.split()) | {"?", ".", "!"}
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=60))
def test_any_string_of_rule_words_has_a_probability(words: list[str]) -> None:
    reply = " ".join(words)
    assert all(0.0 <= value <= 1.0 for value in features(MESSAGE, reply))
    assert 0.0 < true_acceptance(MESSAGE, reply) < 1.0


def test_votes_are_keyed_and_distinct() -> None:
    votes = cast_votes("m1-r1", MESSAGE, GENERIC, half="A", n_votes=3, seed=7)
    assert votes == cast_votes("m1-r1", MESSAGE, GENERIC, half="A", n_votes=3, seed=7)
    assert len({vote.annotator for vote in votes}) == 3
    assert all(vote.annotator.startswith("A") for vote in votes)
    assert [vote.annotator for vote in votes] == sorted(vote.annotator for vote in votes)
    voters = {
        tuple(vote.annotator for vote in cast_votes(f"m1-r{number}", MESSAGE, GENERIC, half="A", n_votes=3, seed=7))
        for number in range(20)
    }
    assert len(voters) > 10
    everyone = cast_votes("m1-r1", MESSAGE, GENERIC, half="B", n_votes=30, seed=7)
    assert [vote.annotator for vote in everyone] == [annotator.id for annotator in panel("B")]


def test_votes_follow_the_probabilities() -> None:
    """4,500 votes on one reply: the standard error of their mean is below 0.0075."""
    labels = [
        vote.label
        for number in range(75)
        for half in ("A", "B")
        for vote in cast_votes(f"i{number}", MESSAGE, GENERIC, half=half, n_votes=30, seed=1)
    ]
    share = sum(label == "acceptable" for label in labels) / len(labels)
    assert share == pytest.approx(true_acceptance(MESSAGE, GENERIC), abs=0.03)


def test_wrong_arguments_say_what_was_expected() -> None:
    with pytest.raises(ConfigError, match=r"no half 'C'\. Expected one of A, B"):
        panel("C")
    with pytest.raises(ConfigError, match="n_votes is 31; expected 1 to 30"):
        cast_votes("i", MESSAGE, GENERIC, half="A", n_votes=31, seed=0)


def test_pack_spreads_over_the_panel() -> None:
    replies = [(row, reply) for row in load_pack() for reply in row.replies]
    acceptance = np.array([panel_acceptance(row.message, reply.text) for row, reply in replies])
    truth = acceptance.mean(axis=1)
    assert 0.45 <= truth.mean() <= 0.6
    assert truth.std() >= 0.22
    assert np.mean((truth > 0.3) & (truth < 0.7)) > 0.3
    assert abs(acceptance[:, :30].mean() - acceptance[:, 30:].mean()) < 0.05
    references = np.array([reply.reference for _, reply in replies])
    pushing = np.array(
        [reply.kind in ("confront", "direct", "warn", "advise without permission") for _, reply in replies]
    )
    assert truth[references].mean() > truth[pushing].mean() + 0.3


def test_rules_are_printed_from_the_tables() -> None:
    rules = rules_markdown()
    assert "simulated. No person took part." in rules
    for name, row in WEIGHTS.items():
        line = next(
            line
            for line in rules.splitlines()
            if line.startswith(f"| {name.replace('_', ' ')} | {MEANINGS[name][:20]}")
        )
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        assert [float(cell) for cell in cells[-4:]] == list(row)
    assert all(phrase in rules for phrases in WORDINGS.values() for phrase in phrases)
