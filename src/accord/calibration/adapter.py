"""The part of a generator that calibration trains: a LoRA adapter on its upper layers, or all of its weights."""

import re
from collections.abc import Iterable, Mapping, Sized
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from accord.candidates.generators.load import model_folder
from accord.candidates.generators.protocol import Generator
from accord.errors import ConfigError
from accord.files import naming_failed_writes
from accord.json_files import read_json, write_json
from accord.randomness import keyed_seed

MODEL_CARD = """---
base_model: {base}
library_name: peft
---

# {title}

A LoRA adapter (rank {r}) on {where} of `{base}`, {how}.
Load it with `accord.candidates.generators.load.load_generator(FOLDER)`.
"""


FULL_MODEL_CARD = """---
base_model: {base}
library_name: transformers
---

# {title}

`{base}` {how}.
Load it with `accord.candidates.generators.load.load_generator(FOLDER)`, or with transformers like any model.
"""


class Story(NamedTuple):
    """What a saved generator's card says of its training: a title, and how an adapter and a whole model were made."""

    title: str
    adapter: str
    whole: str


CALIBRATED = Story(
    "Calibrated generator",
    "trained with accord so that completions which more people\nwould accept become likelier",
    "with all its weights trained with accord, so that completions which more people would accept become likelier",
)
TUNED = Story(
    "Tuned generator",
    "trained with accord on texts that people wrote",
    "trained with accord on texts that people wrote",
)


def require_trainable(tuning: str, dtype: str) -> None:
    """Refuse weights that training in small steps would leave as they are.

    Raises:
        ConfigError: all weights in bfloat16, whose 8 bits round away a step of less than 1/256 of a weight.
    """
    if tuning == "full" and dtype != "float32":
        raise ConfigError(
            f"tuning is 'full' and dtype is {dtype!r}: rounding would swallow most steps of the weights. "
            "Use dtype: float32, or tuning: lora, whose adapter trains in float32 on weights of any precision."
        )


def unfreeze(generator: Generator, *, base_name: str) -> Any:
    """Let all weights of the generator's model train (in place); returns the model.

    Raises:
        ConfigError: the model is an adapter.
    """
    _require_whole_model(generator.model, base_name)
    return generator.model.requires_grad_(True)


def first_adapted_layer(n_layers: int, lora_layers: Literal["upper_third", "all"]) -> int:
    """Number of the lowest layer that carries the adapter; the upper third is at least one layer."""
    return 0 if lora_layers == "all" else n_layers - max(1, round(n_layers / 3))


def adapted_layers(stacks: Mapping[str, Sized], lora_layers: Literal["upper_third", "all"]) -> dict[str, range]:
    """Numbers of the layers that carry the adapter, by the path of their stack.

    "all" means every layer of every stack. "upper_third" is that of the last stack, the one that writes: a
    sequence-to-sequence model reads the prompt as before and learns what to say to it.
    """
    if lora_layers == "all":
        return {path: range(len(layers)) for path, layers in stacks.items()}
    *_, (path, layers) = stacks.items()
    return {path: range(first_adapted_layer(len(layers), lora_layers), len(layers))}


def add_adapter(
    generator: Generator,
    *,
    lora_layers: Literal["upper_third", "all"],
    r: int,
    alpha: float,
    dropout: float,
    base_name: str,
    seed: int,
) -> PeftModel:
    """Freeze the generator's model and put a LoRA adapter on every linear map of the chosen layers (in place).

    In a decoder that looks at encoder states those of this attention too. The adapter starts as the identity; its
    random half is drawn from (seed, "lora").

    Args:
        lora_layers: see `adapted_layers`.
        base_name: what the saved adapter calls its base, e.g. builtin:NAME; never a cache path. Of a stage's folder
            the generator inside it.

    Raises:
        ConfigError: the model already is an adapter.
    """
    model = generator.model
    _require_whole_model(model, base_name)
    stacks = generator.layer_stacks
    chosen = adapted_layers(stacks, lora_layers)
    linear = {
        path.rpartition(".")[2]: type(module)
        for stack, numbers in chosen.items()
        for layer in (stacks[stack][number] for number in numbers)
        for path, module in layer.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        fan_in_fan_out=Conv1D in linear.values(),
        task_type="SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
        **(_one_stack(chosen, linear) if len(stacks) == 1 else _several_stacks(chosen, linear)),
    )
    torch.manual_seed(keyed_seed(seed, "lora"))
    adapted = get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = model_folder(base_name)
    return adapted


def _require_whole_model(model: Any, base_name: str) -> None:
    if isinstance(model, PeftModel):
        raise ConfigError(
            f"the generator {base_name!r} is an adapter itself. Expected a whole model; merge the adapter into its "
            "base first (PeftModel.merge_and_unload) and save that."
        )


def _one_stack(chosen: Mapping[str, range], linear: Iterable[str]) -> dict[str, Any]:
    """PEFT's own words: names of the maps, numbers of the layers."""
    ((path, numbers),) = chosen.items()
    return {
        "target_modules": sorted(linear),
        "layers_to_transform": list(numbers),
        "layers_pattern": path.rpartition(".")[2],
    }


def _several_stacks(chosen: Mapping[str, range], linear: Iterable[str]) -> dict[str, Any]:
    """A pattern for whole paths, because a layer's number alone does not say in which stack it is."""
    layers = [rf"{re.escape(path)}\.({'|'.join(map(str, numbers))})" for path, numbers in chosen.items()]
    return {"target_modules": rf"({'|'.join(layers)})\.(.*\.)?({'|'.join(sorted(linear))})"}


def save_adapter(
    adapted: PeftModel, tokenizer: Any, folder: Path, *, base_name: str, story: Story = CALIBRATED
) -> None:
    """Write the adapter (safetensors, its base by name), the tokenizer and a model card to `folder`."""
    config = adapted.peft_config["default"]
    layers = config.layers_to_transform
    where = f"layers {layers[0]} to {layers[-1]}" if layers else f"the linear maps `{config.target_modules}`"
    with naming_failed_writes(folder):
        adapted.save_pretrained(folder, save_embedding_layers=False)
        _sort_target_modules(folder / "adapter_config.json")
        tokenizer.save_pretrained(folder)
        card = MODEL_CARD.format(title=story.title, how=story.adapter, base=base_name, r=config.r, where=where)
        (folder / "README.md").write_text(card)


def save_full_model(model: Any, tokenizer: Any, folder: Path, *, base_name: str, story: Story = CALIBRATED) -> None:
    """Write the whole model (safetensors), the tokenizer and a model card to `folder`; it needs its base no more."""
    base = Path(base_name).name if Path(base_name).exists() else base_name
    with naming_failed_writes(folder):
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        card = FULL_MODEL_CARD.format(title=story.title, how=story.whole, base=base)
        (folder / "README.md").write_text(card)


SAVE = {"lora": save_adapter, "full": save_full_model}
"""How the trained generator of each tuning is written: (model, tokenizer, folder, base_name=..., story=...)."""


def _sort_target_modules(config_path: Path) -> None:
    """PEFT keeps names as a set and writes that in an order which differs from process to process."""
    config = read_json(config_path)
    if not isinstance(config["target_modules"], str):
        write_json(config_path, {**config, "target_modules": sorted(config["target_modules"])})
