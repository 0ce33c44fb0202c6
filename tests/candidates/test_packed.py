"""The packed layout: its rows, its mask under either attention, what it refuses.

That states and gradients are those of one row per completion: test_generator_contract.py.
"""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import BloomConfig, BloomForCausalLM, MistralConfig, MistralForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from accord.candidates.generators.packed import (
    PAD_SEGMENT,
    attend_in_blocks,
    attending_in_blocks,
    block_bounds,
    pack_rows,
    packed_attention_mask,
    packed_completion_states,
)
from accord.errors import ConfigError
from toys import tiny_gpt2, tiny_llama

PROMPTS = [[10, 11, 12, 13], [20, 21], [30, 31, 32, 33, 34, 35]]
COMPLETIONS = [[[14, 15, 5], [16, 5], [17, 18, 19, 22, 5]], [[23, 24, 25, 5]], [[5], [36, 37, 5]]]


def one_row_per_completion(model: Any, prompts: list[list[int]], completions: list[list[list[int]]]) -> Tensor:
    """Log-probabilities of every completion token, each completion read alone after its prompt."""
    logps = []
    for prompt, group in zip(prompts, completions, strict=True):
        for completion in group:
            logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
            logps.append(logits.log_softmax(-1).gather(1, torch.tensor(completion)[:, None])[:, 0])
    return torch.cat(logps)


def packed_logps(model: Any, prompts: list[list[int]], completions: list[list[list[int]]]) -> Tensor:
    states = packed_completion_states(model, prompts, completions, pad_id=0)
    targets = pack_rows(prompts, completions, pad_id=0).target_ids
    return model.get_output_embeddings()(states).log_softmax(-1).gather(1, targets[:, None])[:, 0]


def toy_model(kind: str, attention: str) -> Any:
    model = tiny_llama(1) if kind.startswith("llama") else tiny_gpt2(1)
    model.set_attn_implementation(attention)
    if kind.endswith("lora"):
        targets = ["q_proj", "v_proj"] if kind.startswith("llama") else ["c_attn"]
        config = LoraConfig(
            r=2, target_modules=targets, init_lora_weights=False, fan_in_fan_out=not kind.startswith("llama")
        )
        return get_peft_model(model, config, low_cpu_mem_usage=False).eval()
    return model


def test_layout_of_one_prompt_with_two_completions() -> None:
    """Prompt 10 11, completions (12 13 5) and (14 5): the row holds 10 11 | 12 13 | 14.

    Token 12 is predicted by place 1 (the prompt's last), 13 by place 2, 5 by place 3; 14 by place 1, 5 by place 4.
    Both completions start at position 2.
    """
    rows = pack_rows([[10, 11]], [[[12, 13, 5], [14, 5]]], pad_id=0)
    assert rows.input_ids.tolist() == [[10, 11, 12, 13, 14]]
    assert rows.position_ids.tolist() == [[0, 1, 2, 3, 2]]
    assert rows.segment_ids.tolist() == [[0, 0, 1, 1, 2]]
    assert rows.source.tolist() == [1, 2, 3, 1, 4]
    assert rows.target_ids.tolist() == [12, 13, 5, 14, 5]


def test_mask_as_a_table() -> None:
    """Rows look, columns are looked at: prompt p, completions a and b, padding."""
    mask = packed_attention_mask(torch.tensor([[0, 0, 1, 1, 2, -1]]), torch.float32)[0, 0]
    assert (mask == 0).int().tolist() == [
        [1, 0, 0, 0, 0, 0],  # p
        [1, 1, 0, 0, 0, 0],  # p
        [1, 1, 1, 0, 0, 0],  # a
        [1, 1, 1, 1, 0, 0],  # a
        [1, 1, 0, 0, 1, 0],  # b
        [1, 1, 0, 0, 0, 1],  # padding
    ]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "llama-lora", "gpt2-lora"])
def test_equals_one_row_per_completion(kind: str, attention: str) -> None:
    model = toy_model(kind, attention)
    expected = one_row_per_completion(model, PROMPTS, COMPLETIONS)
    torch.testing.assert_close(packed_logps(model, PROMPTS, COMPLETIONS), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_neighbours_padding_and_order_change_nothing(kind: str) -> None:
    model = toy_model(kind, "sdpa")
    alone = packed_logps(model, PROMPTS[1:2], COMPLETIONS[1:2])
    together = packed_logps(model, PROMPTS, COMPLETIONS)
    torch.testing.assert_close(together[10:14], alone, atol=1e-5, rtol=1e-5)
    reversed_order = packed_logps(model, PROMPTS[:1], [COMPLETIONS[0][::-1]])
    torch.testing.assert_close(reversed_order[:5], together[5:10], atol=1e-5, rtol=1e-5)


def test_models_that_cannot_be_packed_are_refused() -> None:
    bloom = BloomForCausalLM(BloomConfig(vocab_size=40, hidden_size=16, n_layer=1, n_head=2))
    with pytest.raises(ConfigError, match="takes its positions from the order of the tokens"):
        packed_completion_states(bloom, [[1]], [[[2]]], pad_id=0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = MistralConfig(vocab_size=40, num_key_value_heads=2, sliding_window=4, **shape)
    mistral = MistralForCausalLM(config)
    assert packed_completion_states(mistral, [[1, 2]], [[[3, 4]]], pad_id=0).shape == (2, 16)
    with pytest.raises(ConfigError, match="sliding window of 4 tokens, shorter than a text of 5"):
        packed_completion_states(mistral, [[1, 2]], [[[3, 4, 5, 6]]], pad_id=0)


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([0, 0, 0], (3,)),
        ([0, 0, 1, 2, 2, -1, -1], (2, 5)),
        ([0] * 5 + [1] * 60 + [2] * 68 + [3] * 2, (5, 133, 135)),  # 60 + 68 tokens make a block, with 2 more it is full
        ([0] * 5 + [1] * 200 + [2] * 7 + [3] * 7, (5, 205, 219)),  # one that is longer stands alone
    ],
)
def test_blocks_hold_whole_completions(segments: list[int], expected: tuple[int, ...]) -> None:
    assert block_bounds(segments) == expected


@pytest.mark.parametrize("n_prompt", [1, 40])
@pytest.mark.parametrize("sizes", [[[1]], [[30, 70, 50], [140, 3]], [[31] * 20, []]])
def test_blocks_attend_as_all_at_once(n_prompt: int, sizes: list[list[int]]) -> None:
    """States and gradients of all but padding are those of sdpa with the whole mask."""
    rng = torch.Generator().manual_seed(0)
    rows = pack_rows([[1] * n_prompt] * len(sizes), [[[1] * (n + 1) for n in row] for row in sizes], pad_id=0)
    segment_ids, (n_rows, size) = rows.segment_ids, rows.segment_ids.shape
    query = torch.randn(n_rows, 4, size, 8, generator=rng, requires_grad=True)
    key, value = (torch.randn(n_rows, 2, size, 8, generator=rng, requires_grad=True) for _ in range(2))
    mask = packed_attention_mask(segment_ids, torch.float32)
    module, config = SimpleNamespace(num_key_value_groups=2), SimpleNamespace(_attn_implementation="sdpa")
    with attending_in_blocks(config, segment_ids):
        assert config._attn_implementation != "sdpa"
        found, _ = attend_in_blocks(module, query, key, value, mask, scaling=0.3)
    assert config._attn_implementation == "sdpa"
    expected, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=0.3)
    kept = segment_ids != PAD_SEGMENT
    torch.testing.assert_close(found[kept], expected[kept])
    weights = torch.randn(found[kept].shape, generator=rng)
    for one, other in zip(
        torch.autograd.grad((found[kept] * weights).sum(), [query, key, value]),
        torch.autograd.grad((expected[kept] * weights).sum(), [query, key, value]),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_scores_grow_with_the_number_of_completions_and_not_with_its_square() -> None:
    """A prompt of 64 and n completions of 33 read as 32: blocks of four, each 128 queries that see 64 + 128 keys."""
    model = toy_model("llama", "sdpa")
    layers, heads = model.config.num_hidden_layers, model.config.num_attention_heads
    for n_blocks in (1, 2, 8):
        with _ScoresCounted() as counted, torch.no_grad():
            packed_completion_states(model, [[1] * 64], [[[2] * 33] * (4 * n_blocks)], pad_id=0)
        assert counted.n_scores == layers * heads * (64 * 64 + n_blocks * 128 * (64 + 128))


class _ScoresCounted(TorchFunctionMode):
    """Counts queries × keys of all attention meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.n_scores = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            query, key = args[:2]
            self.n_scores += query.shape[0] * query.shape[1] * query.shape[2] * key.shape[2]
        return func(*args, **(kwargs or {}))
