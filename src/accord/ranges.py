"""Which numbers a setting can be, by its name: a name means the same in every room."""

import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, NamedTuple

from accord.errors import ConfigError

LARGEST = 1_000_000_000


class Range(NamedTuple):
    """Numbers from `low` to `high`, with or without the two ends."""

    low: float
    high: float
    has_low: bool = True
    has_high: bool = True

    def holds(self, value: float) -> bool:
        above = value >= self.low if self.has_low else value > self.low
        return above and (value <= self.high if self.has_high else value < self.high)

    @property
    def text(self) -> str:
        low = f"{'from' if self.has_low else 'above'} {self.low:,}"
        return f"a number {low} {'to' if self.has_high else 'to below'} {self.high:,}"


ANY = Range(-LARGEST, LARGEST)
NOT_NEGATIVE = Range(0, LARGEST)
POSITIVE = Range(0, LARGEST, has_low=False)
COUNT = Range(1, LARGEST)
RANGES: Mapping[str, Range] = {
    **dict.fromkeys(("length_penalty", "length_exponent"), ANY),
    **dict.fromkeys(
        ("temperature", "repetition_penalty", "smoothing", "lora_alpha", "max_grad_norm", "dpo_beta"), POSITIVE
    ),
    **dict.fromkeys(("dropout", "lora_dropout", "label_smoothing", "dev_fraction"), Range(0, 1, has_high=False)),
    **dict.fromkeys(("level", "target"), Range(0, 1, has_low=False, has_high=False)),
    "budget": COUNT,
    "num_samples": Range(2, LARGEST),  # a sample is measured against the others
    "top_p": Range(0, 1, has_low=False),
    "max_reference_tokens": COUNT,
    "port": Range(0, 65_535),
    "max_length": Range(8, LARGEST),  # the special tokens of a pair, and some text
    "max_turn_tokens": Range(3, LARGEST),  # the marks of beginning and end, and a word
    **dict.fromkeys(
        "batch_size micro_batch_size batch_tokens eval_every max_prompt_tokens max_new_tokens head_size "
        "num_candidates beams_per_group num_beams samples k picks n_folds n_resamples n_randomisations lora_r "
        "lora_rank prefix_length encoder_layers annotators_per_item tasks_per_annotator seeds slow_seeds n "
        "points horizon max_turns max_dev_prompts scratch_width scratch_layers scratch_vocabulary".split(),
        COUNT,
    ),
}
"""A setting's name -> what it can be; every other number is `NOT_NEGATIVE`."""


def check_numbers(settings: Any) -> None:
    """Refuse a number that no computation can mean anything with, nan and infinity among them.

    Args:
        settings: a settings dataclass, or its fields by name.

    Raises:
        ConfigError: names the setting, its value and what it can be.
    """
    fields = asdict(settings) if is_dataclass(settings) and not isinstance(settings, type) else dict(settings)
    for name, value in fields.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        allowed = RANGES.get(name, NOT_NEGATIVE)
        if not math.isfinite(value) or not allowed.holds(value):
            raise ConfigError(f"{name} is {value}. Expected {allowed.text}.")
