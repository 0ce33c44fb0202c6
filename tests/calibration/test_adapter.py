"""Where the adapter goes: which layers, which linear maps, in one stack or two."""

from pathlib import Path
from typing import Any, Literal

import pytest

from accord.artifacts import open_stage
from accord.calibration.adapter import adapted_layers, add_adapter, first_adapted_layer
from accord.candidates.generators.causal import CausalGenerator
from accord.candidates.generators.protocol import Generator
from accord.candidates.generators.seq2seq import Seq2SeqGenerator
from accord.errors import ConfigError
from toys import tiny_bart, tiny_gpt2, tiny_llama, tiny_t5, word_tokenizer


def toy_generator(model: Any) -> Generator:
    make = Seq2SeqGenerator if model.config.is_encoder_decoder else CausalGenerator
    return make(model, word_tokenizer(), chat=False)


def adapted(generator: Generator, lora_layers: Literal["upper_third", "all"]) -> Any:
    return add_adapter(generator, lora_layers=lora_layers, r=2, alpha=4, dropout=0.0, base_name="toy", seed=1)


def adapted_maps(model: Any) -> list[str]:
    paths = [name for name, _ in model.get_base_model().named_modules() if name.endswith(".lora_A")]
    return [path.removesuffix(".lora_A") for path in paths]


def test_upper_third_is_at_least_one_layer() -> None:
    assert [first_adapted_layer(n, "upper_third") for n in (1, 2, 3, 12, 30)] == [0, 1, 2, 8, 20]
    assert first_adapted_layer(30, "all") == 0


def test_of_two_stacks_the_upper_third_is_that_of_the_one_that_writes() -> None:
    stacks = {"encoder.block": "abcdefg", "decoder.block": "abcdef"}
    assert adapted_layers(stacks, "upper_third") == {"decoder.block": range(4, 6)}
    assert adapted_layers(stacks, "all") == {"encoder.block": range(7), "decoder.block": range(6)}


@pytest.mark.parametrize(
    ("model", "in_upper_third", "in_all"),
    [
        (tiny_llama(), 7, 3 * 7),  # q k v o, gate up down
        (tiny_gpt2(), 4, 2 * 4),  # c_attn c_proj, c_fc c_proj
        (tiny_t5(), 10, 3 * 6 + 3 * 10),  # q k v o, twice in the decoder; wi wo
        (tiny_t5(gated=True), 11, 3 * 7 + 3 * 11),  # wi_0 wi_1 wo
        (tiny_bart(), 10, 2 * 6 + 3 * 10),  # q k v out, twice in the decoder; fc1 fc2
    ],
    ids=["llama", "gpt2", "t5", "t5-v1.1", "bart"],
)
def test_every_linear_map_of_the_chosen_layers_and_no_other(model: Any, in_upper_third: int, in_all: int) -> None:
    generator = toy_generator(model)
    path, layers = list(generator.layer_stacks.items())[-1]
    upper = adapted(generator, "upper_third")
    maps = adapted_maps(upper)
    assert len(maps) == in_upper_third
    assert all(name.startswith(f"{path}.{len(layers) - 1}.") for name in maps)
    whole = toy_generator(upper.unload())
    maps = adapted_maps(adapted(whole, "all"))
    assert len(maps) == in_all
    assert all(name.startswith(tuple(whole.layer_stacks)) for name in maps)


@pytest.mark.parametrize("build", [tiny_llama, tiny_t5])
def test_an_adapter_is_not_adapted_again(build: Any) -> None:
    generator: Any = toy_generator(build())
    generator.model = adapted(generator, "upper_third")
    with pytest.raises(ConfigError, match="'toy' is an adapter itself"):
        adapted(generator, "upper_third")


def test_the_base_of_a_stages_folder_is_the_model_inside_it(tmp_path: Path) -> None:
    """A tuned generator that is calibrated: the adapter must find what PEFT and transformers can load."""
    stage = open_stage(tmp_path / "tuned", stage="tune", version=1, settings={}, seed=0, inputs={})
    (stage.folder / "generator").mkdir()
    stage.finish()
    options: Any = {"lora_layers": "all", "r": 2, "alpha": 4, "dropout": 0.0, "seed": 1}
    model = add_adapter(toy_generator(tiny_llama()), base_name=str(stage.folder), **options)
    assert model.peft_config["default"].base_model_name_or_path == str(stage.folder / "generator")
