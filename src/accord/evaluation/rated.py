"""Reads what people said of the systems' texts: the export of `accord rate`, or any file like it (docs/rating.md)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from accord.config import read_config
from accord.errors import ConfigError, DataError
from accord.evaluation.outputs import SEPARATOR, OutputKey
from accord.json_files import read_numbered
from accord.records import Annotation, Prompt
from accord.statistics.agreement import Level

RATINGS_FILE = "ratings.jsonl"
FORM_FILE = "form.yaml"
UNNAMED = "rating"
"""What a question without a name is called."""


class RatedText(msgspec.Struct, frozen=True):
    """One line of ratings.jsonl: a system's text with what each annotator answered to each question.

    `prompt_id` is the id of the output that was rated (default: `id`).
    """

    id: str
    prompt: Prompt
    completion: str
    system: str
    annotations: tuple[Annotation, ...]
    seed: int = 0
    sample: int = 0
    prompt_id: str | None = None
    group: str | None = None

    @property
    def output_key(self) -> OutputKey:
        """The output that was rated."""
        return (self.prompt_id or self.id, self.system, self.seed, self.sample)


class Scale(NamedTuple):
    """How the answers to one question become numbers: label -> number, in the form's order.

    `shares`: label -> the share of people it says would accept the text, where it says so. No `numbers`: the labels
    are names alone, so that there is no mean.
    """

    name: str
    labels: tuple[str, ...]
    numbers: Mapping[str, float]
    shares: Mapping[str, float]
    level: Level


class Ratings(NamedTuple):
    """All texts that were rated, and the scales of the questions in the order of the form."""

    texts: list[RatedText]
    scales: list[Scale]


class Answers(NamedTuple):
    """The answers to one question, [V] each: the numbers of text, annotator and label."""

    text_index: np.ndarray
    annotator_index: np.ndarray
    label_index: np.ndarray
    annotators: tuple[str, ...]


def read_ratings(paths: Sequence[Path]) -> Ratings:
    """Read files of ratings, or the folders that hold a ratings.jsonl; form.yaml beside one gives order and meaning.

    Without a form, labels that are all numbers are a scale, yes and no a share, and any others names alone.

    Raises:
        DataError: no ratings; a text, or an annotator's answer to one question about it, given twice; a label that the
            form does not have. ConfigError: a form that is none.
    """
    texts: list[RatedText] = []
    seen: set[OutputKey] = set()
    forms: list[tuple[Path, list[Scale]]] = []
    for path in paths:
        file = path / RATINGS_FILE if path.is_dir() else path
        for line, text in read_numbered(file, RatedText, name="ratings"):
            _check(text, seen, where=f"{file} line {line}")
            texts.append(text)
        form_path = file.parent / FORM_FILE
        if form_path.is_file():
            forms.append((form_path, read_scales(form_path)))
    if not any(text.annotations for text in texts):
        raise DataError(f"{', '.join(map(str, paths))}: no ratings. Expected texts with annotations.")
    for other_path, other in forms[1:]:
        if other != forms[0][1]:
            raise ConfigError(f"{other_path} asks other questions than {forms[0][0]}. Evaluate the studies one by one.")
    return Ratings(texts, _known_scales(texts, forms[0][1], forms[0][0]) if forms else _guessed_scales(texts))


def read_scales(path: Path) -> list[Scale]:
    """The scales of a form (docs/rating.md); what else the form says is left alone.

    Raises:
        ConfigError: not a form.
    """
    try:
        form = msgspec.convert(read_config(path), _Form)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path} is not a form: {error}. Compare it with the one that `accord rate` wrote.") from None
    return [_scale(question) for question in form.questions]


def answers_to(ratings: Ratings, scale: Scale) -> Answers:
    """The answers to one question; texts are numbered as in `ratings.texts`, annotators by name."""
    found = [
        (number, annotation.annotator, scale.labels.index(annotation.label))
        for number, text in enumerate(ratings.texts)
        for annotation in text.annotations
        if (annotation.question or UNNAMED) == scale.name
    ]
    annotators = sorted({annotator for _, annotator, _ in found})
    index = {annotator: number for number, annotator in enumerate(annotators)}
    return Answers(
        np.array([number for number, _, _ in found], dtype=np.int64),
        np.array([index[annotator] for _, annotator, _ in found], dtype=np.int64),
        np.array([label for _, _, label in found], dtype=np.int64),
        tuple(annotators),
    )


# -- steps ------------------------------------------------------------------------------------------------------


class _Label(msgspec.Struct):
    value: str
    share: tuple[float, float] | None = None


class _Question(msgspec.Struct):
    name: str
    labels: tuple[_Label, ...]
    order: str = "nominal"
    acceptable: tuple[str, ...] = ()


class _Form(msgspec.Struct):
    questions: tuple[_Question, ...]


def _scale(question: _Question) -> Scale:
    """Ordered labels count as the numbers they are, else by place from 1; two labels as the share of the acceptable."""
    labels = tuple(label.value for label in question.labels)
    shares = {label.value: sum(label.share) / 2 for label in question.labels if label.share is not None}
    if question.order == "ordered":
        numbers = _as_numbers(labels) or {label: float(place) for place, label in enumerate(labels, start=1)}
        return Scale(question.name, labels, numbers, shares, "ordinal")
    if question.acceptable:
        accepted = {label: float(label in question.acceptable) for label in labels}
        return Scale(question.name, labels, accepted, shares or accepted, "nominal")
    return Scale(question.name, labels, {}, shares, "nominal")


def _as_numbers(labels: Sequence[str]) -> dict[str, float]:
    """The labels as numbers; empty where one is none."""
    try:
        return {label: float(label) for label in labels}
    except ValueError:
        return {}


def _check(text: RatedText, seen: set[OutputKey], *, where: str) -> None:
    if SEPARATOR in text.system or not text.system:
        raise DataError(f'{where}: system is "{text.system}". Expected a name without "{SEPARATOR}".')
    if text.output_key in seen:
        raise DataError(f"{where}: the text {text.id} comes twice. Expected each text once, with all its ratings.")
    seen.add(text.output_key)
    answered = [(annotation.annotator, annotation.question) for annotation in text.annotations]
    for annotator, question in dict.fromkeys(answered):
        if answered.count((annotator, question)) > 1:
            raise DataError(
                f"{where}: annotator {annotator} answers {question or 'the question'} twice for {text.id}. "
                "Expected one answer; leave repeats out."
            )


def _known_scales(texts: Sequence[RatedText], scales: list[Scale], form: Path) -> list[Scale]:
    by_name = {scale.name: scale for scale in scales}
    for text in texts:
        for annotation in text.annotations:
            scale = by_name.get(annotation.question or UNNAMED)
            if scale is None:
                raise DataError(f"{text.id}: question {annotation.question!r} is not in {form}.")
            if annotation.label not in scale.labels:
                raise DataError(
                    f"{text.id}: label {annotation.label!r} of {scale.name} is not one of "
                    f"{', '.join(scale.labels)}, the labels of {form}."
                )
    return [scale for scale in scales if _labels_given(texts, scale.name)]


def _guessed_scales(texts: Sequence[RatedText]) -> list[Scale]:
    names = dict.fromkeys(annotation.question or UNNAMED for text in texts for annotation in text.annotations)
    return [_guessed_scale(name, _labels_given(texts, name)) for name in names]


def _guessed_scale(name: str, labels: set[str]) -> Scale:
    numbers = _as_numbers(sorted(labels))
    if numbers:
        return Scale(name, tuple(sorted(labels, key=float)), numbers, {}, "ordinal")
    if labels <= {"yes", "no"}:
        shares = {"no": 0.0, "yes": 1.0}
        return Scale(name, ("no", "yes"), shares, shares, "nominal")
    return Scale(name, tuple(sorted(labels)), {}, {}, "nominal")


def _labels_given(texts: Sequence[RatedText], question: str) -> set[str]:
    return {a.label for text in texts for a in text.annotations if (a.question or UNNAMED) == question}
