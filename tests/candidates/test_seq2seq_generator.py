"""What is the sequence-to-sequence generator's own: its tokens, its start, what it computes only once, what it refuses.

What it computes: test_generator_contract.py.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BlenderbotConfig,
    BlenderbotForConditionalGeneration,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    PegasusConfig,
    PegasusForConditionalGeneration,
)

from accord.candidates.decode import completions
from accord.candidates.generators.seq2seq import Seq2SeqGenerator
from accord.errors import ConfigError
from accord.records import Message
from toys import SPECIALS, WORDS, tiny_bart, tiny_t5, word_tokenizer

PROMPTS = [[10, 11, 12, 13], [20], [30, 31, 32, 33, 34, 35]]


def t5(**options: Any) -> Seq2SeqGenerator:
    return Seq2SeqGenerator(tiny_t5(10), word_tokenizer(frame="$A </s>"), **options)


def bart(*, forced_start: bool = False) -> Seq2SeqGenerator:
    return Seq2SeqGenerator(tiny_bart(10, forced_start=forced_start), word_tokenizer(frame="<s> $A </s>"))


def words(text: str) -> list[int]:
    ids: list[int] = word_tokenizer()(text)["input_ids"]
    return ids


def test_the_start_is_what_generate_starts_with() -> None:
    """<pad> = 0 in T5; </s> = 5 in BART, and <s> = 4 where it is forced; else the beginning of sequence."""
    assert t5().start_ids == [0]
    assert bart().start_ids == [5]
    assert bart(forced_start=True).start_ids == [5, 4]
    model = tiny_t5()
    model.generation_config.decoder_start_token_id, model.generation_config.bos_token_id = None, 4
    assert Seq2SeqGenerator(model, word_tokenizer()).start_ids == [4]
    model.generation_config.bos_token_id = None
    with pytest.raises(
        ConfigError, match=r"decoder start token is None\. Expected one token id; set decoder_start_tok"
    ):
        Seq2SeqGenerator(model, word_tokenizer())


def test_a_completion_is_what_follows_the_start() -> None:
    """BART's tokenizer frames a text with <s>, which the model writes itself, unless it is forced to."""
    assert t5().completion_ids("why stop") == [*words("why stop"), 5]
    assert bart().completion_ids("why stop") == [4, *words("why stop"), 5]
    assert bart(forced_start=True).completion_ids("why stop") == [*words("why stop"), 5]
    assert t5().text([*words("why stop"), 5]) == "why stop"


def test_plain_prompts_say_who_spoke_where_more_than_one_message_follows() -> None:
    chat = (Message("user", "i feel sad"), Message("assistant", "why"), Message("user", "work"))
    generator = t5()
    assert generator.prompt_ids("i feel sad") == [*words("i feel sad"), 5]
    assert generator.prompt_ids(chat[:1]) == generator.prompt_ids("i feel sad")
    assert generator.prompt_ids(chat) == [*words("user: i feel sad\nassistant: why\nuser: work"), 5]
    asked = t5(system_prompt="be good")
    assert asked.prompt_ids("i feel sad") == [*words("be good\ni feel sad"), 5]
    assert asked.prompt_ids((Message("system", "help"), *chat[:1])) == [*words("help\ni feel sad"), 5]


def test_a_chat_template_frames_the_prompt() -> None:
    tokenizer = word_tokenizer(frame="$A </s>")
    tokenizer.chat_template = (
        "{% for m in messages %}<s> {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}you{% endif %}"
    )
    generator = Seq2SeqGenerator(tiny_t5(), tokenizer)
    assert generator.prompt_ids("i feel sad") == words("<s> i feel sad you")
    with pytest.raises(ConfigError, match="has no chat template, but chat is on"):
        t5(chat=True)


@pytest.mark.parametrize("build", [t5, bart])
@pytest.mark.parametrize("method", ["diverse_beam", "beam", "sample"])
def test_prompts_are_read_once(build: Callable[[], Seq2SeqGenerator], method: Any) -> None:
    """One pass of the encoder over 3 rows and one of each cross-attention's key map, whatever is decoded then."""
    generator = build()
    seen: list[Any] = []
    whole = generator.model
    whole.get_encoder().register_forward_hook(lambda *_: seen.append("encoder"))
    keys = [m for name, m in whole.named_modules() if name.endswith(("EncDecAttention.k", "encoder_attn.k_proj"))]
    for number, module in enumerate(keys):
        module.register_forward_hook(lambda _, inputs, __, n=number: seen.append((n, len(inputs[0]))))
    completions(generator, PROMPTS, ["a", "b", "c"], method=method, n=4, max_new_tokens=6, diversity_penalty=1.0)
    assert seen == ["encoder", (0, 3), (1, 3), (2, 3)]
    seen.clear()
    generator.completion_states(PROMPTS, [[[14, 5], [5]], [[23, 24, 25, 5]], [[5], [36, 37, 5]]])
    assert seen == ["encoder", (0, 3), (1, 3), (2, 3)]


def test_what_belongs_to_a_prompt_stays_where_it_is_until_a_prompt_leaves() -> None:
    encoded = bart().encode(PROMPTS)
    encoded.expand(2)

    def place() -> int:
        keys: torch.Tensor = encoded._decoding._cache.cross_attention_cache.layers[0].keys
        return keys.data_ptr()

    before = place()
    encoded.step(torch.tensor([40, 41, 42, 43, 44, 45]))
    encoded.reorder(torch.tensor([1, 1, 2, 3, 5, 4]))
    assert place() == before
    encoded.reorder(torch.tensor([2, 3, 0, 1, 4, 5]))
    assert place() == before
    assert len(encoded._decoding._cache.cross_attention_cache.layers[0].keys) == 3
    encoded.reorder(torch.tensor([0, 1, 4]))
    assert len(encoded._decoding._cache.cross_attention_cache.layers[0].keys) == 2


def test_nobody_is_made_to_end_in_mid_sentence() -> None:
    """BART's config forces </s> at the limit; here a completion at the limit is unfinished, as every other one."""
    generator = bart(forced_start=True)
    assert generator.model.generation_config.forced_eos_token_id == 5
    found = completions(generator, PROMPTS, ["a", "b", "c"], method="greedy", max_new_tokens=2)
    assert [(len(one.ids), one.is_finished) for (one,) in found] == [(2, False)] * 3


def test_texts_longer_than_the_positions_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"prompt of 65 tokens, but it has positions for 64.*lower --max-prompt-tokens"
    ):
        bart().encode([[7] * 65])
    with pytest.raises(
        ConfigError, match=r"completion of 66 tokens, but it has positions for 64.*lower --max-new-tokens"
    ):
        bart().completion_states([[7]], [[[8] * 66]])
    bart().completion_states([[7] * 64], [[[8] * 64]])
    t5().completion_states([[7] * 200], [[[8] * 200]])


def bart_like(config: Any, model: Any) -> Any:
    sizes = {"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_layers": 2, "decoder_layers": 2}
    tokens = {"pad_token_id": 0, "bos_token_id": 4, "eos_token_id": 5, "decoder_start_token_id": 4}
    torch.manual_seed(0)
    return model(config(vocab_size=len(SPECIALS) + len(WORDS), init_std=0.3, **sizes, **heads, **tokens)).eval()


@pytest.mark.parametrize(
    ("config", "model"),
    [(PegasusConfig, PegasusForConditionalGeneration), (BlenderbotConfig, BlenderbotForConditionalGeneration)],
    ids=["pegasus", "blenderbot"],
)
@torch.no_grad()
def test_relatives_of_bart_give_their_own_numbers(config: Any, model: Any) -> None:
    """Greedy decoding of a batch, and the log-probabilities of what it found, against one forward pass a prompt."""
    generator = Seq2SeqGenerator(bart_like(config, model), word_tokenizer(frame="$A </s>"))
    found = completions(generator, PROMPTS, ["a", "b", "c"], method="greedy", max_new_tokens=8)
    for prompt, (one,) in zip(PROMPTS, found, strict=True):
        decoder_ids = torch.tensor([[4, *one.ids[:-1]]])
        logits = generator.model(input_ids=torch.tensor([prompt]), decoder_input_ids=decoder_ids).logits[0]
        assert logits.argmax(-1).tolist() == list(one.ids)
        states = generator.completion_states([prompt], [[list(one.ids)]])
        torch.testing.assert_close(generator.output_logits(states), logits, atol=1e-5, rtol=1e-5)


def test_an_architecture_that_would_not_be_exact_is_refused() -> None:
    """BERT to BERT: its vocabulary head has a layer of its own before the output embeddings."""
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    parts = [BertConfig(vocab_size=len(SPECIALS) + len(WORDS), **size, **more) for more in ({}, {"is_decoder": True})]
    parts[1].add_cross_attention = True
    model = EncoderDecoderModel(EncoderDecoderConfig.from_encoder_decoder_configs(*parts)).eval()
    model.generation_config.decoder_start_token_id = 2
    with pytest.raises(ConfigError, match=r"its architecture \(encoder-decoder\) is built otherwise than accord knows"):
        Seq2SeqGenerator(model, word_tokenizer())
