"""Forms: what annotators are asked about each text, in which words and on which scales (docs/rating.md)."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from accord.config import read_config
from accord.data.schemes import LabelScheme, quoted
from accord.errors import ConfigError

FORMS_DIR = Path(__file__).parent / "forms"
FORMS = ("emotional-support", "rule-of-thumb", "acceptable")
"""The shipped forms; each is a file of `FORMS_DIR`."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_FIELDS_OF_THE_PAGE = frozenset({"consent", "csrf"})

Layout = Literal["together", "single"]


class Label(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One point of a scale: the `value` that is stored, its short `text`, its `anchor` (what it means, written out).

    `share`: where a label estimates how many people would accept the text, the lowest and highest share it stands for.
    """

    value: str
    text: str
    anchor: str
    share: tuple[float, float] | None = None


class Question(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is asked about each text; `labels` are in order, worst first where `order` is "ordered".

    `acceptable` names the labels that say the text is acceptable, if any do.
    """

    name: str
    text: str
    labels: tuple[Label, ...]
    order: Literal["ordered", "nominal"] = "nominal"
    acceptable: tuple[str, ...] = ()
    optional: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """The digit that chooses each label: the value itself where all values are digits, else the place from 1."""
        values = tuple(label.value for label in self.labels)
        if all(re.fullmatch("[0-9]", value) for value in values):
            return values
        return tuple(str(place) for place in range(1, len(values) + 1))


class Trait(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Something annotators may say about themselves; without `choices` in their own words."""

    name: str
    text: str
    choices: tuple[str, ...] = ()


class Form(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What one study asks.

    `instructions` and `consent` are plain text, paragraphs parted by an empty line. `layout`: "together" shows all
    texts for one prompt on a page, "single" one text a page. `prompt_title` is the heading over the prompt,
    `role_names` what the roles of a chat are called there (user -> You).
    """

    name: str
    title: str
    instructions: str
    consent: str
    questions: tuple[Question, ...]
    traits: tuple[Trait, ...] = ()
    layout: Layout = "together"
    prompt_title: str = "Prompt"
    role_names: dict[str, str] = {}


def load_form(name_or_path: str | Path) -> Form:
    """A shipped form by its name, or one of your own from a YAML file with the fields of `Form`.

    Raises:
        ConfigError: no such form, or the file is not one; says which key is wrong and what was expected.
    """
    name = str(name_or_path)
    path = FORMS_DIR / f"{name}.yaml" if name in FORMS else Path(name_or_path)
    if not path.is_file():
        raise ConfigError(f"Form {name!r} is neither a file nor one of {quoted(FORMS)}.")
    try:
        form = msgspec.convert(read_config(path), Form)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path} is not a form: {error}.{_advice(str(error))}") from None
    problem = _problem(form)
    if problem:
        raise ConfigError(f"{path}: {problem}")
    return form


def write_form(form: Form, path: Path) -> None:
    """The form as YAML that `load_form` reads back as the same form."""
    path.write_text(
        yaml.safe_dump(msgspec.to_builtins(form), allow_unicode=True, sort_keys=False, width=100), encoding="utf-8"
    )


def question_scheme(question: Question) -> LabelScheme | None:
    """The label scheme under which `accord prepare` reads this question; None where no label says "acceptable"."""
    values = tuple(label.value for label in question.labels)
    shares = {label.value: label.share for label in question.labels if label.share is not None}
    if not shares and not question.acceptable:
        return None
    return LabelScheme(
        name=question.name,
        labels=values,
        acceptable=question.acceptable,
        level="ordinal" if question.order == "ordered" else "nominal",
        kind="share" if shares else "vote",
        intervals=shares or None,
        question=question.name,
    )


def _advice(error: str) -> str:
    """What to do about what msgspec says of a value."""
    if "Expected `str`, got `bool`" in error:
        return ' YAML reads yes, no, on and off as true and false: write them in quotes, "yes".'
    if "Expected `str`, got" in error:
        return ' Write it in quotes, as in "4".'
    return " Compare it with a shipped form."


def _problem(form: Form) -> str | None:
    """What the fields of a form say wrongly together; None where nothing."""
    for key in ("name", "title", "instructions", "consent"):
        if not getattr(form, key).strip():
            return f"{key} is empty. Expected text."
    if not form.questions:
        return "questions is empty. Expected at least one."
    named: Iterable[tuple[str, Question | Trait]] = (
        *((f"questions[{i}]", question) for i, question in enumerate(form.questions)),
        *((f"traits[{i}]", trait) for i, trait in enumerate(form.traits)),
    )
    for where, part in named:
        if not _NAME.fullmatch(part.name):
            return f"{where}.name is {part.name!r}. Expected small letters, digits and _, a letter first."
        if not part.text.strip():
            return f"{where}.text is empty. Expected what annotators are asked."
    return (
        _repeated("questions", [question.name for question in form.questions])
        or _repeated("traits", [trait.name for trait in form.traits])
        or next((found for trait in form.traits if (found := _trait_problem(trait))), None)
        or next((found for question in form.questions if (found := _question_problem(question))), None)
    )


def _repeated(where: str, names: list[str]) -> str | None:
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    return f"{where}: {twice[0]!r} comes twice. Give each its own." if twice else None


def _trait_problem(trait: Trait) -> str | None:
    if trait.name in _FIELDS_OF_THE_PAGE:
        return f"traits: the name {trait.name!r} is one of the page's own. Choose another."
    return _repeated(f"choices of trait {trait.name!r}", list(trait.choices))


def _question_problem(question: Question) -> str | None:
    where = f"question {question.name!r}"
    values = [label.value for label in question.labels]
    if not 2 <= len(values) <= 9:
        return f"{where} has {len(values)} labels. Expected 2 to 9: each is chosen by a digit."
    for label in question.labels:
        for key in ("value", "text", "anchor"):
            if not getattr(label, key).strip():
                return f"{where}, label {label.value!r}: {key} is empty. Expected text; every point has its anchor."
    repeated = _repeated(f"labels of {where}", values)
    if repeated:
        return repeated
    n_shares = sum(label.share is not None for label in question.labels)
    if n_shares not in (0, len(values)):
        return f"{where}: {n_shares} of {len(values)} labels have a share. Expected all or none."
    try:
        question_scheme(question)
    except ConfigError as error:
        return f"{where}: {error}"
    return None
