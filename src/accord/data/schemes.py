"""Label schemes: which labels a question has, in which order, and which of them say that a text is acceptable."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from accord.errors import ConfigError
from accord.files import UTF8_BOM

Level = Literal["nominal", "ordinal", "interval"]


class LabelScheme(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What annotators were asked and what their labels mean (scheme.json).

    `labels` are in order, worst first where the level is ordinal or interval. `acceptable` names the labels whose
    summed share is the acceptance. `kind`: "vote" = a label is one person's opinion; "share" = a label estimates
    what share of people would accept, and `intervals` says between which shares each label lies. `question`
    selects the annotations of one question where the data asks several.

    Raises:
        ConfigError: the parts contradict each other.
    """

    name: str
    labels: tuple[str, ...]
    acceptable: tuple[str, ...] = ()
    level: Level = "nominal"
    kind: Literal["vote", "share"] = "vote"
    intervals: dict[str, tuple[float, float]] | None = None
    question: str | None = None

    def __post_init__(self) -> None:
        problem = _labels_problem(self) or _kind_problem(self)
        if problem:
            raise ConfigError(f"Label scheme {self.name!r}: {problem}")


def _labels_problem(scheme: LabelScheme) -> str | None:
    if len(scheme.labels) < 2 or len(set(scheme.labels)) < len(scheme.labels):
        return f"labels are {quoted(scheme.labels)}; expected at least two, each once."
    unknown = [label for label in scheme.acceptable if label not in scheme.labels]
    if unknown:
        return f"acceptable names {quoted(unknown)}; expected labels out of {quoted(scheme.labels)}."
    if scheme.level == "interval" and not all(_is_number(label) for label in scheme.labels):
        return f"level is interval but labels are {quoted(scheme.labels)}; expected numbers, or level ordinal."
    return None


def _kind_problem(scheme: LabelScheme) -> str | None:
    if scheme.kind == "vote":
        if scheme.intervals is not None:
            return 'intervals belong to kind "share"; this one is "vote". Drop them or change the kind.'
        if not 0 < len(set(scheme.acceptable)) < len(scheme.labels):
            return f"acceptable is {quoted(scheme.acceptable)}; expected some of the labels, but not all."
        return None
    if scheme.acceptable:
        return 'acceptable has no meaning in kind "share", where every label estimates the acceptance. Drop it.'
    if scheme.intervals is None or set(scheme.intervals) != set(scheme.labels):
        return 'kind "share" needs intervals: one [low, high] for each label.'
    wrong = [label for label, (low, high) in scheme.intervals.items() if not 0 <= low <= high <= 1]
    return f"intervals of {quoted(wrong)} are not 0 <= low <= high <= 1." if wrong else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


ANNOMI_OTHER_BEHAVIOURS = (
    "negotiation",
    "options",
    "give information",
    "therapist input",
    "closed question",
    "open question",
    "question",
    "simple reflection",
    "complex reflection",
    "reflection",
    "other",
)
"""What AnnoMI's annotators call an utterance that gives no advice."""

MI_CLASSES = {
    "advise with permission": "adherent",
    "affirm": "adherent",
    "emphasize autonomy": "adherent",
    "support": "adherent",
    "closed question": "relational",
    "open question": "relational",
    "simple reflection": "relational",
    "complex reflection": "relational",
    "give information": "relational",
    "self-disclose": "relational",
    "other": "relational",
    "advise without permission": "non-adherent",
    "confront": "non-adherent",
    "direct": "non-adherent",
    "warn": "non-adherent",
}
"""The 15 motivational-interviewing codes -> their coarse class (the paper, Table 5)."""

SCHEMES: dict[str, LabelScheme] = {
    scheme.name: scheme
    for scheme in (
        LabelScheme(name="acceptable", labels=("unacceptable", "acceptable"), acceptable=("acceptable",)),
        LabelScheme(name="yes-no", labels=("no", "yes"), acceptable=("yes",)),
        LabelScheme(name="rating-1-5", labels=("1", "2", "3", "4", "5"), acceptable=("4", "5"), level="ordinal"),
        # ConvAbuse grades: -3 very strongly abusive ... -1 mildly, 0 ambiguous, 1 not abusive.
        LabelScheme(name="abuse-levels", labels=("-3", "-2", "-1", "0", "1"), acceptable=("0", "1"), level="ordinal"),
        # The paper, Table 5: MI Adherent and Relational are acceptable, MI Non-Adherent is not.
        LabelScheme(
            name="mi-codes",
            labels=tuple(MI_CLASSES),
            acceptable=tuple(code for code, name in MI_CLASSES.items() if name != "non-adherent"),
        ),
        # The coarse MI codes: what the paper's released code tells apart.
        LabelScheme(
            name="mi-classes", labels=("relational", "adherent", "non-adherent"), acceptable=("relational", "adherent")
        ),
        # AnnoMI has no code for advice with or without permission, confronting, directing or warning: what its
        # annotators can say against an utterance is that it gives advice.
        LabelScheme(name="no-advice", labels=("advice", "no advice"), acceptable=("no advice",), question="advice"),
        LabelScheme(
            name="annomi-behaviours",
            labels=("advice", *ANNOMI_OTHER_BEHAVIOURS),
            acceptable=ANNOMI_OTHER_BEHAVIOURS,
            question="behaviour",
        ),
        # Scruples dilemmas: of two actions, how the one that is the completion compares with the other.
        LabelScheme(name="more-ethical", labels=("less ethical", "more ethical"), acceptable=("more ethical",)),
        # PRISM: whether the person went on with a response, and its rating from 1 (terrible) to 100 (perfect).
        LabelScheme(name="prism-chosen", labels=("not chosen", "chosen"), acceptable=("chosen",), question="chosen"),
        LabelScheme(
            name="prism-score",
            labels=tuple(str(score) for score in range(1, 101)),
            acceptable=tuple(str(score) for score in range(51, 101)),
            level="interval",
            question="score",
        ),
        # MIC, the paper's appendix B.2 (Table 6): nobody, rare, controversial, most, all.
        LabelScheme(
            name="global-consensus",
            labels=("1", "2", "3", "4", "5"),
            level="ordinal",
            kind="share",
            intervals={"1": (0.0, 0.01), "2": (0.05, 0.25), "3": (0.5, 0.5), "4": (0.75, 0.9), "5": (0.99, 1.0)},
        ),
        # The same grades as the paper's released code takes them: fixed shares, 5 below what its interval says.
        LabelScheme(
            name="global-consensus-released",
            labels=("1", "2", "3", "4", "5"),
            level="ordinal",
            kind="share",
            intervals={str(grade): (share, share) for grade, share in enumerate((0.025, 0.15, 0.5, 0.85, 0.95), 1)},
        ),
    )
}


def load_scheme(name_or_path: str | Path) -> LabelScheme:
    """A shipped scheme by its name, or one of your own from a JSON file with the fields of `LabelScheme`.

    Raises:
        ConfigError: no such scheme, or the file is not one.
    """
    if str(name_or_path) in SCHEMES:
        return SCHEMES[str(name_or_path)]
    path = Path(name_or_path)
    if not path.is_file():
        raise ConfigError(f"Label scheme {str(name_or_path)!r} is neither a file nor one of {quoted(SCHEMES)}.")
    try:
        return msgspec.json.decode(path.read_bytes().removeprefix(UTF8_BOM), type=LabelScheme)
    except (OSError, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} is not a label scheme: {error}. Expected an object with name, labels and acceptable."
        ) from None


def quoted(names: Iterable[str]) -> str:
    """`["no", "yes"]`: how error messages list names."""
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"
