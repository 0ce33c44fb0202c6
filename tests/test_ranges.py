"""Numbers that a setting cannot be are refused by name (src/accord/ranges.py)."""

from dataclasses import fields
from math import inf, nan

import pytest

from accord.calibration.settings import CalibrateSettings, TuneSettings
from accord.candidates.planning.settings import FeedbackSettings, MultiEscSettings, SequenceSettings
from accord.candidates.settings import DecodeSettings, GenerateSettings, RerankSettings
from accord.data.settings import PrepareSettings
from accord.errors import ConfigError
from accord.evaluation.settings import EvaluateSettings
from accord.preference.settings import FitSettings
from accord.ranges import RANGES, check_numbers
from accord.rating.settings import RateSettings, ServeSettings
from accord.recovery.settings import RecoverSettings, SuggestSettings
from accord.report.settings import ReportSettings
from accord.scoring.settings import ScoreSettings

SETTINGS = (
    PrepareSettings,
    FitSettings,
    GenerateSettings,
    ScoreSettings,
    TuneSettings,
    CalibrateSettings,
    MultiEscSettings,
    SequenceSettings,
    FeedbackSettings,
    DecodeSettings,
    RerankSettings,
    EvaluateSettings,
    RecoverSettings,
    SuggestSettings,
    ReportSettings,
    RateSettings,
    ServeSettings,
)


@pytest.mark.parametrize("settings_type", SETTINGS)
def test_the_defaults_are_allowed(settings_type: type) -> None:
    check_numbers(settings_type())


def test_every_named_range_is_of_a_setting_that_there_is() -> None:
    names = {field.name for settings_type in SETTINGS for field in fields(settings_type)}
    assert set(RANGES) <= names


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("batch_size", 0, "batch_size is 0. Expected a number from 1 to 1,000,000,000."),
        ("learning_rate", nan, "learning_rate is nan. Expected a number from 0 to 1,000,000,000."),
        ("learning_rate", -0.1, "learning_rate is -0.1. Expected a number from 0 to 1,000,000,000."),
        ("temperature", 0.0, "temperature is 0.0. Expected a number above 0 to 1,000,000,000."),
        ("top_p", 1.1, "top_p is 1.1. Expected a number above 0 to 1."),
        ("level", 1.0, "level is 1.0. Expected a number above 0 to below 1."),
        ("dropout", 1, "dropout is 1. Expected a number from 0 to below 1."),
        ("length_penalty", inf, "length_penalty is inf. Expected a number from -1,000,000,000 to 1,000,000,000."),
        ("a_new_setting", -1, "a_new_setting is -1. Expected a number from 0 to 1,000,000,000."),
    ],
)
def test_a_number_out_of_range_is_named(name: str, value: float, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_numbers({name: value})
    assert str(caught.value) == message


def test_what_is_no_number_passes() -> None:
    check_numbers({"batch_size": None, "chat": "auto", "resplit": False, "fractions": (0.8, 0.1, 0.1), "top_p": 1})
    check_numbers({"length_penalty": -2.0, "dropout": 0, "patience": 0, "epochs": 0.5})
