"""The corpora that accord knows by name, and which settings of `accord prepare` each takes."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from accord.data.dialogues import History, build_history
from accord.data.prompts import PromptReading
from accord.data.published import Published
from accord.data.reader import Reading
from accord.data.schemes import LabelScheme, quoted
from accord.data.settings import PrepareSettings
from accord.data.sources import annomi, convabuse, esconv, mi, mic, scruples, socialchem
from accord.errors import ConfigError

_COMMON = ("source", "on_bad_row", "fractions", "resplit", "n_resamples")
_JUDGED = (*_COMMON, "scheme", "question", "disjoint_text", "traits")
_DIALOGUE = ("history", "history_turns")
_SELECTED = ("prompts_per_group", "max_prompts")


class ItemSource(NamedTuple):
    """A corpus of annotated items: how it is read, its label scheme, the settings it takes."""

    read: Callable[[Path, LabelScheme, PrepareSettings], Reading]
    scheme: str
    takes: tuple[str, ...] = _JUDGED
    published: Published | None = None


class PromptSource(NamedTuple):
    """A corpus of prompts with human replies that nobody judged."""

    read: Callable[[Path, PrepareSettings], PromptReading]
    takes: tuple[str, ...] = (*_COMMON, *_DIALOGUE, *_SELECTED)
    published: Published | None = None


def _read_annomi(path: Path, scheme: LabelScheme, settings: PrepareSettings) -> Reading:
    return annomi.read_annomi(path, scheme=scheme, on_bad_row=settings.on_bad_row, history=_history(settings))


def _read_convabuse(path: Path, scheme: LabelScheme, settings: PrepareSettings) -> Reading:
    return convabuse.read_convabuse(path, scheme=scheme, on_bad_row=settings.on_bad_row)


def _read_mi(path: Path, scheme: LabelScheme, settings: PrepareSettings) -> Reading:
    return mi.read_mi(path, scheme=scheme, on_bad_row=settings.on_bad_row, history=_history(settings))


def _read_mic(path: Path, scheme: LabelScheme, settings: PrepareSettings) -> Reading:
    return mic.read_mic(path, scheme=scheme, on_bad_row=settings.on_bad_row, context=settings.context)


def _read_mic_prompts(path: Path, settings: PrepareSettings) -> PromptReading:
    return mic.read_mic_prompts(path, on_bad_row=settings.on_bad_row, context=settings.context)


def _read_socialchem(path: Path, scheme: LabelScheme, settings: PrepareSettings) -> Reading:
    return socialchem.read_socialchem(path, scheme=scheme, on_bad_row=settings.on_bad_row)


def _read_scruples(path: Path, scheme: LabelScheme, settings: PrepareSettings) -> Reading:
    return scruples.read_scruples(path, scheme=scheme, on_bad_row=settings.on_bad_row)


def _read_esconv(path: Path, settings: PrepareSettings) -> PromptReading:
    return esconv.read_esconv(path, on_bad_row=settings.on_bad_row, history=_history(settings))


def _history(settings: PrepareSettings) -> History:
    return build_history(settings.history, settings.history_turns)


SOURCES: dict[str, ItemSource | PromptSource] = {
    "annomi": ItemSource(_read_annomi, annomi.SCHEME, (*_JUDGED, *_DIALOGUE), annomi.PUBLISHED),
    "convabuse": ItemSource(_read_convabuse, convabuse.SCHEME),
    "esconv": PromptSource(_read_esconv),
    "mi": ItemSource(_read_mi, mi.SCHEME, (*_JUDGED, *_DIALOGUE), mi.PUBLISHED),
    "mic": ItemSource(_read_mic, mic.SCHEME, (*_JUDGED, "context"), mic.PUBLISHED),
    "mic-prompts": PromptSource(_read_mic_prompts, (*_COMMON, "context", *_SELECTED), mic.PUBLISHED),
    "socialchem": ItemSource(_read_socialchem, socialchem.SCHEME, _JUDGED, socialchem.PUBLISHED),
    "scruples-dilemmas": ItemSource(_read_scruples, scruples.SCHEME),
}
_FILE_TAKES = (*_JUDGED, "format", "rename", "annotator_columns", "delimiter", "prompts", "texts", "subset")


def check_settings(settings: PrepareSettings) -> None:
    """Refuse a setting that would change nothing.

    Raises:
        ConfigError: the source does not take it.
    """
    takes = _FILE_TAKES if settings.source == "file" else SOURCES[settings.source].takes
    for field in fields(settings):
        found = getattr(settings, field.name)
        if field.name not in takes and found != field.default:
            own = [name for name in takes if name not in _COMMON]
            raise ConfigError(
                f"{field.name} is {found!r}, but source {settings.source!r} does not take it; it takes {quoted(own)}. "
                f"Leave {field.name} out."
            )
