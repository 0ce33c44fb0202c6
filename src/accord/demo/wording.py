"""What the demo's simulated panel looks at in a reply: readable numbers from word lists and overlap with the message.

Nothing here is learned. The lists of `word_lists.py` and the short functions below are the whole rule book; `panel.py`
weighs the numbers. Every feature lies in [0, 1] and saturates, so that stacking more of a good thing buys nothing. The
word lists are English, and they read wording, not meaning: irony without a marker passes unseen.
"""

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from accord.demo.word_lists import SAME_WORDS, TURNED, WORDINGS


class Features(NamedTuple):
    """One reply seen in the light of its message; every number is in [0, 1]. `MEANINGS` says what each counts."""

    reflection: float
    about_you: float
    names_feeling: float
    warmth: float
    affirmation: float
    autonomy: float
    permission: float
    open_question: float
    closed_question: float
    impersonal: float
    question_pile: float
    advice: float
    unasked_advice: float
    directive: float
    confrontation: float
    warning: float
    minimising: float
    information: float
    lecture: float
    stock_phrase: float
    gush: float
    list_marks: float
    machine_talk: float
    self_disclosure: float
    wrong_role: float
    length: float
    too_short: float
    too_long: float
    unfinished: float
    repetition: float
    parroting: float
    off_topic: float
    nonsense: float


MEANINGS: dict[str, str] = {
    "reflection": "content words (by stem) taken up from the message in plain sentences, full at 3; 60 % of that "
    "where the reply never says you or your",
    "about_you": "a plain statement that speaks of you or your",
    "names_feeling": "a phrase that puts a feeling or its weight into words, or a feeling word beside you",
    "warmth": "different warm phrases, full at 2",
    "affirmation": "different words that credit the seeker's effort or character, full at 2",
    "autonomy": "different phrases that leave the choice with the seeker, full at 2",
    "permission": "asks before it offers something",
    "open_question": "a question with an open word before 3 more words, at least 2 of them small ones (are, "
    "you, that); or an invitation to say more",
    "closed_question": "a question that is neither open nor asks permission",
    "impersonal": "never says you, asks nothing, tells nobody to do anything, tells no story of its "
    "own and has no warm or feeling phrase",
    "question_pile": "questions beyond the second, full at 4 questions",
    "advice": "a concrete suggestion, asked for or not; half for one marker, full at 2",
    "unasked_advice": "advice, where the message does not ask for any and the reply does not ask permission",
    "directive": "sentences that start with an imperative or say you should, must, need to; one counts 0.7, two 1",
    "confrontation": "blame, accusation or contempt; one phrase counts 0.7, two 1",
    "warning": "threatening consequences; one phrase counts 0.7, two 1",
    "minimising": "plays the trouble down or hurries it away; one phrase counts 0.7, two 1",
    "information": "facts, studies and figures about people in general; half for one marker, full at 2",
    "lecture": "teaching tone; half for one marker, full at 2",
    "stock_phrase": "a phrase that fits any message",
    "gush": "warm or crediting phrases beyond the third and exclamation marks beyond the first, full at 3",
    "list_marks": "numbered or bulleted points, headings, first ... second; half for one, full at 2",
    "machine_talk": "speaks as a machine, as a form letter, about its user, or with role labels",
    "self_disclosure": "tells a story of its own; half where it still speaks to you, full where it does not",
    "wrong_role": "tells the message's own story as I, or asks the seeker for help",
    "length": "words, full at 45",
    "too_short": "fewer than 6 words: 0.25 for each missing one, full at 2 words or fewer",
    "too_long": "words beyond 45, full at 90",
    "unfinished": "does not end with a full stop, question mark, exclamation mark or ellipsis",
    "repetition": "share of word triples that stood in the reply before, doubled",
    "parroting": "share of word quadruples copied from the message, I and you taken as the same; above "
    "40 %, full at 80 %",
    "off_topic": "nothing taken up from the message, and more than 2 words about something else; full at 7 such words, "
    "half of that where the reply says you or your",
    "nonsense": "no words; or under 70 % letters; or, from 6 words on, under 32 % small words (the, "
    "you, is), full at 12 %",
}

_SAME_WORD = {word: group.split()[0] for group in SAME_WORDS for word in group.split()}
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_CLAUSE_END = re.compile(r"(?<=[.!?…])[\"')\]]*\s+|[:;—–]\s+|\n+")
_FINISHED = re.compile(r"[.!?…][\"'”’)\]*]*\s*$")
_LIST_MARK = re.compile(r"(?:^|\s)(?:\d{1,2}[.)]\s|[-*•]\s+\w|#{1,4}\s|\*\*)")
_FORM_FIELD = re.compile(
    r"\[[A-Za-z' ]{2,30}\]|^\s*(?:user|assistant|supporter|human|ai|subject)\s*:|^\s*dear\b",
    re.IGNORECASE | re.MULTILINE,
)
_SUFFIX = re.compile(r"(?:'s|ing|ed|es|s|ly|er|e|y|ness)$")
_QUOTES = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"'})
_MAX_PHRASE_WORDS = 5


class _Sentence(NamedTuple):
    words: list[str]
    phrases: frozenset[str]
    is_question: bool


class _Source(NamedTuple):
    """What a reply is compared with: the message's content stems, its word quadruples, and whether it asks."""

    stems: frozenset[str]
    quadruples: frozenset[tuple[str, ...]]
    asks_for_advice: bool


@lru_cache(maxsize=1 << 16)
def features(message: str, reply: str) -> Features:
    """The reply's features in the light of the message. Pure, defined for any two strings, cached."""
    source = _source(message)
    text = reply.translate(_QUOTES)
    sentences = [_sentence(part) for part in _CLAUSE_END.split(text) if _WORD.search(part)]
    words = [word for sentence in sentences for word in sentence.words]
    phrases = frozenset().union(*(sentence.phrases for sentence in sentences))
    n_warm, n_credit = _n_found(phrases, "warmth"), _n_found(phrases, "affirmation")
    directive = _firm(sum(map(_is_directive, sentences)))
    permission = float(any(_asks_permission(s) for s in sentences))
    advice = _share(_n_found(phrases, "advice") + round(2 * directive), 2)
    taken_up = _stems(w for s in sentences if not _is_pressing(s) for w in s.words) & source.stems
    says_you = bool(WORDINGS["you_words"].intersection(words))
    own_stems = _stems(words)
    own_story = any(map(_is_own_story, sentences))
    n_questions = sum(s.is_question for s in sentences)
    return Features(
        reflection=_share(len(taken_up), 3) * (1.0 if says_you else 0.6),
        about_you=float(any(map(_is_about_you, sentences))),
        names_feeling=float(_names_feeling(sentences)),
        warmth=_share(n_warm, 2),
        affirmation=_share(n_credit, 2),
        autonomy=_share(_n_found(phrases, "autonomy"), 2),
        permission=permission,
        open_question=float(any(map(_is_open, sentences))),
        closed_question=float(any(s.is_question and not _is_open(s) and not _asks_permission(s) for s in sentences)),
        impersonal=float(
            not (says_you or n_questions or n_warm or directive or own_story or _names_feeling(sentences))
        ),
        question_pile=_share(n_questions - 2, 2),
        advice=advice,
        unasked_advice=0.0 if permission or source.asks_for_advice else advice,
        directive=directive,
        confrontation=_firm(_n_found(phrases, "confrontation")),
        warning=_firm(_n_found(phrases, "warning")),
        minimising=_firm(_n_found(phrases, "minimising")),
        information=_share(_n_found(phrases, "information"), 2),
        lecture=_share(_n_found(phrases, "lecture"), 2),
        stock_phrase=float(_n_found(phrases, "stock_phrase") > 0),
        gush=_share(max(0, n_warm + n_credit - 3) + max(0, text.count("!") - 1), 3),
        list_marks=_share(len(_LIST_MARK.findall(text)) + _n_found(phrases, "list_words"), 2),
        machine_talk=float(_n_found(phrases, "machine_talk") > 0 or _FORM_FIELD.search(text) is not None),
        self_disclosure=(0.5 if says_you else 1.0) * own_story,
        wrong_role=_wrong_role(sentences, source.stems),
        length=_share(len(words), 45),
        too_short=_share(6 - len(words), 4),
        too_long=_share(len(words) - 45, 45),
        unfinished=float(_FINISHED.search(text) is None),
        repetition=_share(2 * _repeated_share(words), 1),
        parroting=_share(_copied_share(words, source.quadruples) - 0.4, 0.4),
        off_topic=0.0 if own_stems & source.stems else _share(len(own_stems) - 2, 5) * (0.5 if says_you else 1.0),
        nonsense=_nonsense(text, words),
    )


def _share(count: float, full: float) -> float:
    return min(1.0, max(0.0, count / full))


def _firm(count: int) -> float:
    """For what a reader minds at once: one 0.7, two or more 1."""
    return (0.0, 0.7, 1.0)[min(2, count)]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _ngrams(words: list[str], size: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(size)), strict=False))


def _sentence(text: str) -> _Sentence:
    words = _words(text)
    runs = (" ".join(run) for size in range(1, _MAX_PHRASE_WORDS + 1) for run in _ngrams(words, size))
    return _Sentence(words, frozenset(runs), "?" in text)


@lru_cache(maxsize=1 << 12)
def _source(message: str) -> _Source:
    text = message.translate(_QUOTES)
    words = _words(text)
    return _Source(
        stems=_stems(words),
        quadruples=frozenset(_ngrams(_turned(words), 4)),
        asks_for_advice=bool(_sentence(text).phrases & WORDINGS["asks_for_advice"]),
    )


def _stems(words: Iterable[str]) -> frozenset[str]:
    """Stems of the words that carry content: neither small nor everyday words."""
    return frozenset(stem for word in words if (stem := _stem(word)))


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    """The word without a common ending, at most 6 letters; "" for words without content of their own."""
    if word not in _SAME_WORD and (word in WORDINGS["small_words"] or word in WORDINGS["everyday_words"]):
        return ""
    stem = _SAME_WORD.get(word, word)
    for _ in range(2):
        shorter = _SUFFIX.sub("", stem)
        if len(shorter) < 3:
            break
        stem = shorter
    if len(stem) > 3 and stem[-1] == stem[-2]:
        stem = stem[:-1]
    return stem[:6]


def _n_found(phrases: frozenset[str], name: str) -> int:
    """Different phrases of a list that occur; one inside another counts once."""
    found = phrases & WORDINGS[name]
    return sum(not any(one != other and f" {one} " in f" {other} " for other in found) for one in found)


def _asks_permission(sentence: _Sentence) -> bool:
    return bool(sentence.phrases & WORDINGS["permission"])


def _is_open(sentence: _Sentence) -> bool:
    """An invitation, or a question with an open word; not one that asks permission."""
    if sentence.phrases & WORDINGS["invitation"]:
        return True
    if not sentence.is_question or _asks_permission(sentence):
        return False
    starts = [at for at, word in enumerate(sentence.words) if word in WORDINGS["open_words"]]
    rest = sentence.words[starts[0] + 1 :] if starts else []
    return len(rest) > 2 and sum(word in WORDINGS["small_words"] for word in rest) > 1


def _is_directive(sentence: _Sentence) -> bool:
    """Says you should and the like, or starts with an imperative (openers such as "please" skipped)."""
    if sentence.is_question or sentence.phrases & WORDINGS["autonomy"]:
        return False
    if sentence.phrases & WORDINGS["obligation"] and not sentence.phrases & WORDINGS["obligation_exceptions"]:
        return True
    words = sentence.words
    while words and words[0] in WORDINGS["sentence_openers"]:
        words = words[1:]
    if not words or words[0] not in WORDINGS["imperatives"]:
        return False
    start = " ".join(words[:3])
    exempt = any(f"{start} ".startswith(f"{exception} ") for exception in WORDINGS["imperative_exceptions"])
    return not exempt and not (len(words) > 1 and words[1] in WORDINGS["not_imperative_before"])


def _is_pressing(sentence: _Sentence) -> bool:
    """Directive, confronting, warning, minimising, lecturing: what it takes up from the message is not a reflection."""
    return _is_directive(sentence) or any(
        sentence.phrases & WORDINGS[name] for name in ("confrontation", "warning", "minimising", "advice", "lecture")
    )


def _is_about_you(sentence: _Sentence) -> bool:
    said = bool(sentence.phrases & WORDINGS["you_words"])
    return said and not sentence.is_question and not _is_pressing(sentence)


def _names_feeling(sentences: list[_Sentence]) -> bool:
    def names(sentence: _Sentence) -> bool:
        said_of_you = sentence.phrases & WORDINGS["you_words"] and sentence.phrases & WORDINGS["feeling_words"]
        return bool(sentence.phrases & WORDINGS["feeling_phrases"] or said_of_you)

    return any(names(sentence) for sentence in sentences if not _is_pressing(sentence))


def _is_own_story(sentence: _Sentence) -> bool:
    return bool(sentence.phrases & WORDINGS["own_story"]) and not sentence.phrases & WORDINGS["helper_words"]


def _wrong_role(sentences: list[_Sentence], message_stems: frozenset[str]) -> float:
    """1 for a plea or three of the message's content words told as I; 0.5 for two; sentences with you do not count."""
    worst = 0.0
    for sentence in sentences:
        if sentence.phrases & WORDINGS["plea"]:
            return 1.0
        own = WORDINGS["me_words"].intersection(sentence.words[:3]) and not sentence.phrases & WORDINGS["helper_words"]
        if own and not sentence.phrases & WORDINGS["you_words"]:
            worst = max(worst, _share(len(_stems(sentence.words) & message_stems) - 1, 2))
    return worst


def _repeated_share(words: list[str]) -> float:
    triples = Counter(_ngrams(words, 3))
    return 1 - len(triples) / max(1, triples.total()) if triples else 0.0


def _turned(words: list[str]) -> list[str]:
    """The words with I turned into you, so that a copy that only swaps the person is still a copy."""
    return [TURNED.get(word, word) for word in words]


def _copied_share(words: list[str], quadruples: frozenset[tuple[str, ...]]) -> float:
    runs = _ngrams(_turned(words), 4)
    return sum(run in quadruples for run in runs) / len(runs) if runs else 0.0


def _nonsense(text: str, words: list[str]) -> float:
    """1 without words; else the worse of too few letters (under 70 %) and too few small words (under 32 %)."""
    if not words:
        return 1.0
    visible = [sign for sign in text if not sign.isspace()]
    letters = sum(sign.isalpha() for sign in visible) / len(visible)
    small = sum(word in WORDINGS["small_words"] for word in words) / len(words)
    few_letters = _share(0.7 - letters, 0.4)
    few_small = _share(0.32 - small, 0.2) if len(words) >= 6 else 0.0
    return max(few_letters, few_small)
