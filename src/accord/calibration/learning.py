"""What an objective is to the calibration stage: the examples its steps read, their loss, figures on held-out prompts.

Adding an objective means adding a file whose function takes `Parts` and returns a `Learning`, and its name to
`calibrate.LEARN`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from accord.calibration.examples import Example
from accord.calibration.settings import CalibrateSettings
from accord.candidates.generators.protocol import Generator
from accord.candidates.logps import StateReader
from accord.training.loop import LossSum

Figures = dict[str, np.ndarray]
"""Name -> value per validation prompt [N]; nan where a prompt has none. "validation_loss" is what selects."""


class Parts(NamedTuple):
    """What an objective may use. `reader` reads the `generator`'s states, its frozen layers once only; `trained` is the
    model with the weights that learn.
    """

    settings: CalibrateSettings
    seed: int
    generator: Generator
    reader: StateReader
    trained: Any
    examples: Sequence[Example]
    dev: Sequence[Example]


class StepBatch(NamedTuple):
    """A micro-batch, and the number of its step."""

    step: int
    examples: Sequence[Example]


class Learning(NamedTuple):
    """`loss_of`: sums over the prompts of a micro-batch, with graph; `figures`: of `dev` under the model as it is."""

    examples: Sequence[Example]
    loss_of: Callable[[StepBatch], LossSum]
    figures: Callable[[], Figures]
