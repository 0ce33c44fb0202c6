"""Rows that share prompts say what rows on their own say, whatever happens to them on the way."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BloomConfig, BloomForCausalLM, MistralConfig, MistralForCausalLM

from accord.candidates.generators.causal import CausalEncoded, CausalGenerator
from accord.candidates.generators.seq2seq import Seq2SeqGenerator, _Decoding
from accord.candidates.generators.shared_causal import SharedCausalEncoded, of_like_length
from accord.candidates.generators.shared_prompts import OwnTokens, RowsOfPrompts
from toys import tiny_bart, tiny_gpt2, tiny_llama, tiny_t5, word_tokenizer

PROMPTS = [list(range(10, 30)), [20, 21], list(range(30, 49)), [40, 41, 42]]


def generator(kind: str = "llama") -> CausalGenerator:
    return CausalGenerator({"llama": tiny_llama, "gpt2": tiny_gpt2}[kind](3), word_tokenizer(), chat=False)


def both(kind: str) -> tuple[SharedCausalEncoded, CausalEncoded]:
    one = generator(kind)
    shared, alone = one.encode(PROMPTS), one._prefill(PROMPTS)
    assert isinstance(shared, SharedCausalEncoded)
    return shared, alone


def assert_same(shared: Any, alone: Any) -> None:
    torch.testing.assert_close(shared.logits, alone.logits, atol=2e-4, rtol=1e-4)


def test_prompts_of_like_length_stay_in_their_places() -> None:
    one = generator()
    shared, alone = one.encode([[7], [8, 9, 10], [11, 12]]), one._prefill([[7], [8, 9, 10], [11, 12]])
    for token in (20, 21):
        torch.testing.assert_close(
            shared.step(torch.tensor([token] * 3)), alone.step(torch.tensor([token] * 3)), atol=2e-4, rtol=1e-4
        )


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_rows_that_share_prompts_say_what_rows_on_their_own_say(kind: str) -> None:
    """Expanded, stepped, reordered within prompts, thinned out unevenly, a prompt gone, stepped again."""
    shared, alone = both(kind)
    assert_same(shared, alone)

    def do(name: str, *arguments: Any) -> None:
        for one in (shared, alone):
            getattr(one, name)(*arguments)
        assert_same(shared, alone)

    do("step", torch.tensor([5, 6, 7, 8]))
    do("expand", 3)
    do("step", torch.arange(20, 32))
    do("reorder", torch.tensor([1, 1, 0, 3, 5, 4, 8, 7, 6, 9, 9, 9]))
    do("step", torch.arange(40, 52))
    do("reorder", torch.tensor([0, 2, 3, 9, 10, 11]))  # the third prompt is left, the others keep 2, 1 and 3 rows
    do("step", torch.arange(10, 16))
    do("reorder", torch.tensor([5, 2, 1]))  # rows of one prompt each, out of order
    for step in range(40):  # over the room of a block
        do("step", torch.tensor([step, step + 1, step + 2]))


def test_prompts_are_read_once_with_those_of_like_length_and_never_copied() -> None:
    one = generator()
    assert one._shares_prompts
    read: list[tuple[int, ...]] = []
    one.model.model.embed_tokens.register_forward_hook(lambda _, inputs, __: read.append(tuple(inputs[0].shape)))
    encoded = one.encode(PROMPTS)
    assert read == [(2, 20), (2, 3)]  # lengths 20 and 19, then 3 and 2
    encoded.expand(5)
    for _ in range(3):
        encoded.step(torch.arange(20))
    assert read[2:] == [(20, 1)] * 3
    assert isinstance(encoded, SharedCausalEncoded)
    for layer in encoded._layers:
        assert layer.prompts is not None
        assert layer.prompts.keys.shape[:3] == (4, 2, 20)
        assert layer.keys.shape[:3] == (20, 2, 3)


def test_lengths_far_apart_are_read_apart() -> None:
    """100 goes with 70 and more, 69 with 49 and more; 17 with 2, as fifteen tokens of padding are few."""
    assert of_like_length([17, 100, 71, 69, 48, 2, 70]) == [[1, 2, 6], [3], [4], [0, 5]]


def test_rows_stand_beside_those_of_their_prompt() -> None:
    """Prompts 0 and 1 with rows 0, 2 and 1 of one head: the second place of prompt 1 is empty."""
    rows = RowsOfPrompts(torch.tensor([0, 1, 0]), 2)
    queries = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1, 1)
    together = rows.together(queries)
    assert together.flatten(1).tolist() == [[1.0, 3.0], [2.0, 0.0]]
    assert torch.equal(rows.apart(together, 1, 1), queries)


def test_a_block_is_written_in_place_until_it_is_full() -> None:
    layer = OwnTokens(n_before=5)
    for number in range(70):
        token = torch.full((2, 1, 1, 3), float(number))
        keys, values = layer.update(token, -token)
        assert keys[0, 0, :, 0].tolist() == list(range(number + 1))
        assert torch.equal(values, -keys)
    assert layer.get_seq_length() == 75
    before = layer.keys.data_ptr()
    layer.update(token, token)
    assert layer.keys.data_ptr() == before
    layer.reorder_cache(torch.tensor([1]))
    assert layer.update(token[:1], token[:1])[0].shape == (1, 1, 72, 3)


def mistral() -> Any:
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = MistralConfig(vocab_size=105, num_key_value_heads=2, sliding_window=16, pad_token_id=0, **shape)
    return MistralForCausalLM(config).eval()


def bloom() -> Any:
    config = BloomConfig(vocab_size=105, hidden_size=32, n_layer=2, n_head=4, pad_token_id=0)
    return BloomForCausalLM(config).eval()


def eager() -> Any:
    model = tiny_llama(3)
    model.set_attn_implementation("eager")
    return model


@pytest.mark.parametrize("build", [mistral, bloom, eager])
def test_models_that_attend_otherwise_keep_rows_of_their_own(build: Any) -> None:
    """A window shorter than the text, positions from the order of tokens, attention that is asked to be eager."""
    torch.manual_seed(0)
    one = CausalGenerator(build(), word_tokenizer(), chat=False)
    assert isinstance(one.encode(PROMPTS), CausalEncoded)


def test_the_models_own_attention_is_what_it_was_before() -> None:
    one = generator()
    ids = torch.tensor([[7, 8, 9]])

    def said() -> Tensor:
        with torch.no_grad():
            logits: Tensor = one.model(ids).logits
        return logits

    before = said()
    one.encode(PROMPTS).step(torch.arange(4))
    assert one.model.config._attn_implementation == "sdpa"
    assert torch.equal(said(), before)


@pytest.mark.parametrize("build", [tiny_t5, tiny_bart])
def test_rows_of_an_encoder_and_decoder_share_prompts_too(build: Any) -> None:
    """Padded prompts, uneven numbers of rows, a prompt gone: as rows that copied what belongs to their prompt."""
    one = Seq2SeqGenerator(build(), word_tokenizer())
    assert one._shares_prompts

    def said(*, shares_prompts: bool) -> Tensor:
        decoding = _Decoding(one, [PROMPTS[1], PROMPTS[0], PROMPTS[3]], shares_prompts=shares_prompts)
        decoding.reorder(torch.tensor([0, 0, 0, 1, 1, 2]))
        first = decoding.read(torch.arange(40, 46)[:, None])
        decoding.reorder(torch.tensor([2, 0, 3]))
        return torch.cat([first, decoding.read(torch.arange(50, 53)[:, None])])

    with torch.no_grad():
        torch.testing.assert_close(said(shares_prompts=True), said(shares_prompts=False), atol=1e-4, rtol=1e-4)
