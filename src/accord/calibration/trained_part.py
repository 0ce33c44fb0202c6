"""What is trained of a generator, and what reads its states: calibration and supervised tuning start here."""

from collections.abc import Sequence
from typing import Any

from accord.calibration.adapter import adapted_layers, add_adapter, unfreeze
from accord.calibration.frozen import with_frozen_layers_kept
from accord.calibration.settings import AdapterSettings
from accord.candidates.generators.protocol import Generator
from accord.candidates.logps import StateReader


def trained_part(
    generator: Generator,
    settings: AdapterSettings,
    *,
    base_name: str,
    seed: int,
    probe: tuple[Sequence[int], Sequence[Sequence[int]]],
) -> tuple[Any, StateReader]:
    """The model with what is trained in it, and what reads its states: frozen layers, if there are any, once only.

    Args:
        settings: tuning "full" lets all weights train; "lora" adds an adapter (see `add_adapter`).
        probe: prompt and completions on which the kept layers are compared with the whole (`with_frozen_layers_kept`).

    Raises:
        ConfigError: the model already is an adapter.
    """
    if settings.tuning == "full":
        return unfreeze(generator, base_name=base_name), generator
    *_, layers = adapted_layers(generator.layer_stacks, settings.lora_layers).values()
    adapted = add_adapter(
        generator,
        lora_layers=settings.lora_layers,
        r=settings.lora_r,
        alpha=settings.lora_alpha,
        dropout=settings.lora_dropout,
        base_name=base_name,
        seed=seed,
    )
    prompt_ids, completion_ids = probe
    reader = with_frozen_layers_kept(generator, layers.start, prompt_ids=prompt_ids, completion_ids=completion_ids)
    return adapted, reader
