"""The two-encoder model: plain BART where the gates are closed, and exactly what its docstring says where not."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from accord.candidates.generators.emotions import PUNCTUATION, SPECIAL, Emotion
from accord.candidates.generators.multiesc import multiesc_from_bart
from accord.candidates.generators.two_encoder import MultiEscConfig, MultiEscForConditionalGeneration, split_turns
from accord.pretrained import load_seq2seq_lm
from toys import tiny_bart, tiny_multiesc, word_tokenizer

SEP, BOS = 3, 4
STRATEGY = 77
"""The first strategy's token in the toy's vocabulary."""
IDS = torch.tensor([[BOS, 10, 11, SEP, STRATEGY, SEP, 30, 31, SEP, STRATEGY + 1, SEP], [BOS, 12, 13, SEP] + [0] * 7])
MASK = IDS.ne(0).long()
DECODED = torch.tensor([[5, 11, 12, 9], [5, 13, 14, 40]])


def config(**changes: Any) -> MultiEscConfig:
    return MultiEscConfig(bos_token_id=BOS, separator_token_id=SEP, strategy_token_ids=[20, 21], **changes)


def logits(model: Any, **options: Any) -> Tensor:
    found: Tensor = model(input_ids=IDS, attention_mask=MASK, decoder_input_ids=DECODED, **options).logits
    return found


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ([4, 10, 11, 3, 12, 3], [[4, 10, 11, 3], [4, 12, 3]]),
        ([4, 10, 3, 20, 3, 11, 3, 21, 3], [[4, 10, 3], [4, 20, 3, 11, 3], [4, 21, 3]]),  # strategy, separator, text
        ([4, 10, 3, 3, 3, 11], [[4, 10, 3], [4, 11, 3]]),  # turns without a word are none
        ([10, 3, 20, 3, 3, 11, 3], [[4, 10, 3], [4, 20, 3, 3], [4, 11, 3]]),  # a supporter who said nothing; cut <s>
        ([3], [[4, 3]]),
        ([4], [[4, 3]]),
    ],
)
def test_turns_end_at_separators_but_not_after_a_strategy(prompt: list[int], expected: list[list[int]]) -> None:
    assert split_turns(prompt, config()) == expected


def test_many_turns_lose_their_first_and_a_long_turn_its_end() -> None:
    prompt = [4, 10, 3, 11, 12, 13, 14, 3, 15, 3]
    assert split_turns(prompt, config(max_turns=2, max_turn_tokens=5)) == [[4, 11, 12, 13, 3], [4, 15, 3]]


@torch.no_grad()
def test_with_its_gates_closed_it_is_plain_bart() -> None:
    """The same numbers, bit for bit, of the BART it was made from, and the same beams."""
    tokenizer, bart = word_tokenizer(frame="<s> $A </s>"), tiny_bart(10)
    model = multiesc_from_bart(bart, tokenizer, lexicon={"sad": Emotion(0.1, 0.4)})
    for name, value in model.named_parameters():
        if "gate" in name or "emotions" in name:
            value.normal_(std=0.3)
    assert (logits(model) - logits(bart)).abs().max() > 0.1
    model.close_gates()
    assert torch.equal(logits(model), logits(bart))
    options = {"attention_mask": MASK, "num_beams": 3, "max_new_tokens": 8}
    assert torch.equal(model.generate(IDS, **options), bart.generate(IDS, **options))


@torch.no_grad()
def test_the_gate_mixes_the_two_attentions() -> None:
    """Open wide (g = 0) the layer gives the attention to turns alone; half open (W = 0, b = 0) the mean of both."""
    model, _ = tiny_multiesc(3)
    attention = model.model.decoder.layers[1].encoder_attn
    states, queries = torch.randn(2, 5 + model.config.max_turns, 32), torch.randn(2, 3, 32)

    def mixed(bias: float) -> Tensor:
        attention.gate.weight.zero_()
        attention.gate.bias.fill_(bias)
        found: Tensor = attention(queries, states)[0]
        return found

    to_turns = attention.turn_attn(queries, states[:, 5:])[0]
    assert_close(mixed(-100.0), to_turns, atol=1e-6, rtol=0)
    assert_close(mixed(0.0), (mixed(100.0) + to_turns) / 2, atol=1e-6, rtol=0)


@torch.no_grad()
def test_turn_vectors_are_the_first_states_of_turns_read_alone() -> None:
    """One row per turn, no padding; the emotion of each token is added to its embedding; the rest is zero."""
    model, _ = tiny_multiesc(3)
    encoder = model.model.encoder
    encoder.token_emotions[10] = 17
    vectors = encoder(input_ids=IDS, attention_mask=MASK).last_hidden_state[:, IDS.shape[1] :]
    assert vectors.shape == (2, 64, 32)
    for row, turns in enumerate([[[4, 10, 11, 3], [4, 77, 3, 30, 31, 3], [4, 78, 3]], [[4, 12, 13, 3]]]):
        for place, turn in enumerate(turns):
            ids = torch.tensor([turn])
            embeddings = encoder.embed_tokens(ids) + encoder.emotions(encoder.token_emotions[ids])
            alone = super(type(encoder), encoder).forward(inputs_embeds=embeddings).last_hidden_state
            assert_close(vectors[row, place], alone[0, 0], atol=1e-5, rtol=0)
        assert not vectors[row, len(turns) :].any()


@torch.no_grad()
def test_emotions_change_the_turn_vectors_only() -> None:
    model, _ = tiny_multiesc(3)
    encoder = model.model.encoder
    before = encoder(input_ids=IDS, attention_mask=MASK).last_hidden_state
    encoder.token_emotions[12] = SPECIAL
    after = encoder(input_ids=IDS, attention_mask=MASK).last_hidden_state
    n_flat = IDS.shape[1]
    assert torch.equal(before[:, :n_flat], after[:, :n_flat])
    changed = (before[:, n_flat:] != after[:, n_flat:]).any(dim=2)
    assert changed.nonzero().tolist() == [[1, 0]]


@torch.no_grad()
def test_eager_attention_gives_the_same_numbers() -> None:
    model, _ = tiny_multiesc(3)
    expected = logits(model)
    model.set_attn_implementation("eager")
    assert_close(logits(model), expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_made_from_a_bart_it_starts_near_it() -> None:
    """The second attention reads as the first does, no emotion has an effect, BART's parameters are BART's."""
    bart, tokenizer = tiny_bart(10), word_tokenizer(frame="<s> $A </s>")
    model = multiesc_from_bart(bart, tokenizer, lexicon={"sad": Emotion(0.1, 0.4)})
    own = model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in bart.state_dict().items())
    attention = model.model.decoder.layers[2].encoder_attn
    for name, value in attention.turn_attn.state_dict().items():
        assert torch.equal(value, attention.state_dict()[name])
    encoder = model.model.encoder
    words = [tokenizer.convert_tokens_to_ids(word) for word in ("sad", "?", "<s>", "@[Question]")]
    assert encoder.token_emotions[words].tolist() == [3, PUNCTUATION, SPECIAL, SPECIAL]
    assert not encoder.emotions.weight.any()
    assert model.config.strategy_token_ids == list(range(77, 85))
    assert model.config.vocab_size == len(tokenizer) == 85


@torch.no_grad()
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_saved_and_loaded_it_is_the_same(dtype: str, tmp_path: Path) -> None:
    model, _ = tiny_multiesc(3)
    model.model.encoder.token_emotions[12] = 63
    model.to(getattr(torch, dtype)).save_pretrained(tmp_path)
    loaded = load_seq2seq_lm(str(tmp_path), dtype=dtype)
    assert isinstance(loaded, MultiEscForConditionalGeneration)
    assert loaded.model.encoder.token_emotions.dtype == torch.int64
    assert torch.equal(logits(loaded), logits(model))


def test_embeddings_alone_cannot_be_read() -> None:
    model, _ = tiny_multiesc(3)
    with pytest.raises(ValueError, match="finds the turns in input_ids"):
        model.model.encoder(inputs_embeds=torch.zeros(1, 2, 32))
