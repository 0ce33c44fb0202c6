"""MIC's generators: the tags are tokens, and only prompts in MIC's form are read."""

from pathlib import Path
from typing import Any

import pytest
import torch

from accord.candidates.generators.load import load_generator
from accord.candidates.generators.mic import TAGS, MicGenerator
from accord.candidates.logps import completion_logps
from accord.errors import DataError
from accord.records import Message
from toys import tiny_t5, word_tokenizer


@pytest.fixture
def generator() -> MicGenerator:
    return MicGenerator(tiny_t5(4, gated=True), word_tokenizer(frame="$A </s>"), name="mic")


def tokens(generator: Any, ids: list[int]) -> str:
    return " ".join(generator.tokenizer.convert_ids_to_tokens(ids))


def test_question_and_answer_with_a_token_for_each_tag(generator: MicGenerator) -> None:
    expected = "why ? [answ] yes . [rot] </s>"
    assert tokens(generator, generator.prompt_ids("why ? [answ] yes . [rot]")) == expected
    chat = (Message("user", "why ?"), Message("assistant", "yes ."))
    assert tokens(generator, generator.prompt_ids(chat)) == expected
    assert tokens(generator, generator.completion_ids("stop .")) == "stop . </s>"


@pytest.mark.parametrize("prompt", ["Q: why ? A: yes", "", (), (Message("user", "why ?"), Message("user", "yes"))])
def test_another_form_is_refused(generator: MicGenerator, prompt: Any) -> None:
    with pytest.raises(
        DataError, match=r"generator 'mic' cannot read the prompt .* Expected 'Q \[answ\] A \[rot\]', as"
    ):
        generator.prompt_ids(prompt)


def test_new_tokens_begin_as_the_mean_of_their_words() -> None:
    """Where the output layer is one of its own, there too; every word of "answer" is unknown to the toy tokenizer."""
    model = tiny_t5(4, gated=True)
    before = [layer.weight.detach().clone() for layer in (model.shared, model.lm_head)]
    generator = MicGenerator(model, word_tokenizer(frame="$A </s>"))
    ids = generator.tokenizer.convert_tokens_to_ids(list(TAGS))
    for layer, old in zip((model.shared, model.lm_head), before, strict=True):
        assert torch.equal(layer.weight[: len(old)], old)
        assert torch.equal(layer.weight[ids[0]], old[1])
        torch.testing.assert_close(layer.weight[ids[1]], (old[1] + old[1] + old[1]) / 3)
    assert model.config.vocab_size == len(before[0]) + len(TAGS)


def test_a_folder_comes_back(generator: MicGenerator, tmp_path: Path) -> None:
    generator.model.save_pretrained(tmp_path)
    generator.tokenizer.save_pretrained(tmp_path)
    again = load_generator(str(tmp_path), kind="mic", device="cpu")
    assert isinstance(again, MicGenerator)
    prompt = generator.prompt_ids("why ? [answ] yes . [rot]")
    assert again.prompt_ids("why ? [answ] yes . [rot]") == prompt
    logps = [completion_logps(one, [prompt], [[[20, 21, 5]]]).sum_logps for one in (generator, again)]
    assert torch.equal(*logps)
