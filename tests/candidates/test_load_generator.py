"""From names and folders to generators."""

from pathlib import Path

import pytest
from peft import PrefixTuningConfig, get_peft_model

from accord.artifacts import open_stage
from accord.candidates.generators.causal import CausalGenerator
from accord.candidates.generators.load import load_generator
from accord.candidates.generators.seq2seq import Seq2SeqGenerator
from accord.errors import ArtifactError, ConfigError
from accord.pretrained import load_seq2seq_lm
from toys import save_tiny_causal_lm, save_tiny_encoder, save_tiny_seq2seq


def test_a_stage_folder_stands_for_the_generator_inside(tmp_path: Path) -> None:
    stage = open_stage(tmp_path / "stage", stage="calibrate", version=1, settings={}, seed=0, inputs={})
    save_tiny_causal_lm(stage.path("generator"))
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        load_generator(str(stage.folder))
    stage.finish()
    generator = load_generator(str(stage.folder), device="cpu")
    assert generator.name == str(stage.folder)
    assert generator.text(generator.completion_ids("that sounds hard")) == "that sounds hard"


def test_another_stages_folder_is_refused(tmp_path: Path) -> None:
    stage = open_stage(tmp_path / "stage", stage="score", version=1, settings={}, seed=0, inputs={})
    stage.finish()
    with pytest.raises(
        ArtifactError, match=r"has no folder generator/\. Expected a folder of `accord tune` or `accord calibrate`"
    ):
        load_generator(str(stage.folder))


def test_the_config_says_which_kind_of_generator_it_is(tmp_path: Path) -> None:
    assert isinstance(load_generator(save_tiny_causal_lm(tmp_path / "llama")), CausalGenerator)
    assert isinstance(load_generator(save_tiny_seq2seq(tmp_path / "t5")), Seq2SeqGenerator)
    encoder = save_tiny_encoder(tmp_path / "bert")
    with pytest.raises(ConfigError, match=r"is a bert, which does not write text after a text\. Expected a causal"):
        load_generator(encoder)
    with pytest.raises(ArtifactError, match="could not be loaded"):
        load_generator(str(tmp_path / "nowhere"))


def test_an_adapter_that_adds_virtual_tokens_is_refused(tmp_path: Path) -> None:
    """It would count in decoding and be left out where prompts are shared."""
    base = save_tiny_seq2seq(tmp_path / "t5")
    config = PrefixTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=2)
    get_peft_model(load_seq2seq_lm(base), config).save_pretrained(tmp_path / "prefix")
    with pytest.raises(ConfigError, match=r"a PREFIX_TUNING adapter\. Expected one that changes weights, such as LoRA"):
        load_generator(str(tmp_path / "prefix"))


def test_chat_is_auto_yes_or_no(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"chat is 'maybe'\. Expected one of auto, yes, no"):
        load_generator(str(tmp_path), chat="maybe")
