"""MultiESC's response generator: what it reads, and that strategies come in and never out."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from accord.candidates.decode import completions
from accord.candidates.generators.load import load_generator
from accord.candidates.generators.multiesc import (
    STRATEGIES,
    MultiEscGenerator,
    known_strategy,
    multiesc_from_bart,
    strategy_token,
)
from accord.candidates.logps import completion_logps
from accord.errors import ConfigError, DataError
from accord.records import Message, Prompt
from toys import tiny_bart, tiny_multiesc, tiny_t5, word_tokenizer

DIALOGUE = (
    Message("system", "sad\n\nlost job"),
    Message("user", "I feel sad"),
    Message("assistant", "Why ?", strategy="Question"),
    Message("user", "my job"),
    Message("assistant", "okay"),
    Message("user", "what now"),
    Message("assistant", "", strategy="reflection of Feelings"),
)


@pytest.fixture(scope="module")
def generator() -> MultiEscGenerator:
    return MultiEscGenerator(*tiny_multiesc(5), name="toy")


def test_the_layout(generator: MultiEscGenerator) -> None:
    tokens = generator.tokenizer.convert_ids_to_tokens(generator.prompt_ids(DIALOGUE))
    assert " ".join(tokens) == (
        "<s> sad [SEP] lost job [SEP] i feel sad [SEP] @[Question] [SEP] why ? [SEP] my job [SEP] okay [SEP] "
        "what [UNK] [SEP] @[Reflection-of-feelings] [SEP]"
    )


def test_targets_are_in_lower_case(generator: MultiEscGenerator) -> None:
    assert generator.completion_ids("That Sounds hard .") == generator.completion_ids("that sounds hard .")
    assert generator.text(generator.completion_ids("That Sounds hard .")) == "that sounds hard ."


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("i feel sad", "ends with a message of 'user'"),
        ((), "is empty"),
        (DIALOGUE[:-1], "ends with a message of 'user'"),
        ((*DIALOGUE[:-1], Message("assistant", "")), "ends with a message of 'assistant'"),
        (DIALOGUE[:3], "ends with a message of 'assistant'"),  # a turn that is written already
    ],
)
def test_a_prompt_without_the_replys_strategy_is_refused(
    generator: MultiEscGenerator, prompt: Prompt, found: str
) -> None:
    with pytest.raises(DataError, match=rf"the prompt {found}, without the strategy .* generator 'toy' needs"):
        generator.prompt_ids(prompt)


def test_names_of_strategies_as_corpora_spell_them() -> None:
    assert [known_strategy(strategy_token(name)[2:-1]) for name in STRATEGIES] == list(STRATEGIES)
    assert known_strategy("Information") == known_strategy("Providing Suggestions") == STRATEGIES[6]
    with pytest.raises(DataError, match=r"strategy 'advice' is none of MultiESC's. Expected one of Question, Greeting"):
        known_strategy("advice")


@torch.no_grad()
def test_the_strategy_matters(generator: MultiEscGenerator) -> None:
    asked = [generator.prompt_ids((*DIALOGUE[:-1], Message("assistant", "", strategy=name))) for name in STRATEGIES[:2]]
    logits = generator.encode(asked).logits
    assert (logits[0] - logits[1]).abs().max() > 0.01


@torch.no_grad()
def test_shared_log_probabilities_equal_one_row_per_candidate(generator: MultiEscGenerator) -> None:
    """Prompts of different length and number of turns; the oracle is the model's own forward pass on one row,
    without the strategies."""
    prompts = [generator.prompt_ids(DIALOGUE), generator.prompt_ids(DIALOGUE[-2:])]
    groups = [[[14, 15, 5], [16, 5], [17, 18, 19, 22, 5]], [[23, 24, 25, 5]]]
    found = completion_logps(generator, prompts, groups).sum_logps
    for row, (prompt, group) in enumerate(zip(prompts, groups, strict=True)):
        for k, completion in enumerate(group):
            decoder_ids = torch.tensor([[*generator.start_ids, *completion[:-1]]])
            logits = generator.model(input_ids=torch.tensor([prompt]), decoder_input_ids=decoder_ids).logits[0]
            logits[:, generator.forbidden_tokens] = -torch.inf
            expected = logits.log_softmax(-1)[range(len(completion)), completion].sum()
            assert_close(found[row, k], expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_beams_and_draws_of_a_batch_equal_each_prompts_own(generator: MultiEscGenerator) -> None:
    prompts = [generator.prompt_ids(DIALOGUE), generator.prompt_ids(DIALOGUE[-2:])]
    for method in ("diverse_beam", "sample"):
        together = completions(generator, prompts, ["a", "b"], method=method, n=4, max_new_tokens=9)
        for prompt, name, row in zip(prompts, ["a", "b"], together, strict=True):
            (alone,) = completions(generator, [prompt], [name], method=method, n=4, max_new_tokens=9)
            assert [one.ids for one in row] == [one.ids for one in alone]


def test_a_saved_folder_loads_as_what_it_is(generator: MultiEscGenerator, tmp_path: Path) -> None:
    generator.model.save_pretrained(tmp_path)
    generator.tokenizer.save_pretrained(tmp_path)
    loaded = load_generator(str(tmp_path), device="cpu")
    assert isinstance(loaded, MultiEscGenerator)
    assert loaded.prompt_ids(DIALOGUE) == generator.prompt_ids(DIALOGUE)


def test_a_tokenizer_without_the_strategies_is_refused() -> None:
    with pytest.raises(ConfigError, match="its tokenizer has not the strategies of its config"):
        MultiEscGenerator(tiny_multiesc(5)[0], word_tokenizer(frame="<s> $A </s>"), name="toy")


@pytest.mark.parametrize("n_spare", [0, 20])
def test_a_strategy_starts_as_the_mean_of_its_words(n_spare: int) -> None:
    """In lower case; also where the BART has more rows than its tokenizer has tokens."""
    bart, tokenizer = tiny_bart(2), word_tokenizer(frame="<s> $A </s>")
    bart.resize_token_embeddings(len(tokenizer) + n_spare)
    words = bart.get_input_embeddings().weight.detach().clone()
    model = multiesc_from_bart(bart, tokenizer, lexicon=None)
    rows = model.get_input_embeddings().weight
    assert len(rows) == len(tokenizer) + max(0, n_spare - len(STRATEGIES))
    assert_close(rows[: len(tokenizer) - len(STRATEGIES)], words[: len(tokenizer) - len(STRATEGIES)], atol=0, rtol=0)
    for name in STRATEGIES:
        ids = tokenizer(name.lower(), add_special_tokens=False)["input_ids"]
        assert_close(rows[tokenizer.convert_tokens_to_ids(strategy_token(name))], words[ids].mean(0))


def test_it_is_made_from_a_bart_only() -> None:
    with pytest.raises(ConfigError, match=r"model 'x' is a t5. Expected a BART"):
        multiesc_from_bart(tiny_t5(), word_tokenizer(), lexicon=None, name="x")
    tokenizer = word_tokenizer(frame="<s> $A </s>")
    tokenizer.sep_token = None
    with pytest.raises(ConfigError, match="no <s> or no separator"):
        multiesc_from_bart(tiny_bart(), tokenizer, lexicon=None, name="x")
