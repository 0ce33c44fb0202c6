"""Sequence log-probabilities against one full forward pass per completion."""

from typing import Any

import pytest
import torch
from torch import Tensor

from accord.calibration.adapter import add_adapter
from accord.candidates.generators.causal import CausalGenerator
from accord.candidates.generators.packed import packed_completion_states
from accord.candidates.generators.protocol import FreelyWritten
from accord.candidates.logps import completion_logps, target_logps
from toys import tiny_gpt2, tiny_llama, word_tokenizer

PROMPTS = [[10, 11, 12, 13], [20, 21], [30]]
COMPLETIONS = [[[14, 15, 5], [16, 5]], [], [[5], [36, 37, 5], [38, 5]]]


class PackedReader(FreelyWritten):
    """The reading half of a causal generator."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def completion_states(self, prompt_ids: Any, completion_ids: Any) -> Tensor:
        return packed_completion_states(self.model, prompt_ids, completion_ids, pad_id=0)

    def output_logits(self, states: Tensor) -> Tensor:
        logits: Tensor = self.model.get_output_embeddings()(states)
        return logits


def plain_logps(model: Any, prompt: list[int], completion: list[int]) -> Tensor:
    logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(completion)[:, None])[:, 0]


def plain_sum(model: Any, prompt: list[int], completion: list[int]) -> Tensor:
    return plain_logps(model, prompt, completion).sum()


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
@pytest.mark.parametrize("chunk_tokens", [1, 3, 256])
def test_sums_and_gradients_equal_the_plain_path(make: Any, chunk_tokens: int) -> None:
    model = make(2)
    found = completion_logps(PackedReader(model), PROMPTS, COMPLETIONS, chunk_tokens=chunk_tokens)
    assert found.n_tokens.tolist() == [[3, 2, 0], [0, 0, 0], [1, 3, 2]]
    assert found.mask.tolist() == [[True, True, False], [False, False, False], [True, True, True]]
    weights = torch.tensor([[1.0, -2.0, 9.0], [9.0, 9.0, 9.0], [0.5, 3.0, -1.0]])
    expected = torch.zeros(3, 3)
    for b, (prompt, group) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        for k, completion in enumerate(group):
            expected[b, k] = plain_sum(model, prompt, completion)
    torch.testing.assert_close(found.sum_logps, expected, atol=1e-4, rtol=1e-5)
    parameters = list(model.parameters())
    ours = torch.autograd.grad((weights * found.sum_logps).sum(), parameters)
    theirs = torch.autograd.grad((weights * expected).sum(), parameters)
    for our_gradient, their_gradient in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our_gradient, their_gradient, atol=1e-4, rtol=1e-4)


def test_summed_probabilities_and_their_gradient() -> None:
    """Σ_t p of every completion, not exp Σ log p; absent places are 0."""
    model = tiny_llama(2)
    found = completion_logps(PackedReader(model), PROMPTS, COMPLETIONS, chunk_tokens=2)
    expected = torch.zeros(3, 3)
    for b, (prompt, group) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        for k, completion in enumerate(group):
            expected[b, k] = plain_logps(model, prompt, completion).exp().sum()
    torch.testing.assert_close(found.sum_probs, expected, atol=1e-6, rtol=1e-5)
    parameters = list(model.parameters())
    ours = torch.autograd.grad(found.sum_probs.sum(), parameters)
    theirs = torch.autograd.grad(expected.sum(), parameters)
    for our_gradient, their_gradient in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our_gradient, their_gradient, atol=1e-5, rtol=1e-4)


def test_no_completions_at_all() -> None:
    found = completion_logps(PackedReader(tiny_llama()), [[10], [11]], [[], []])
    assert found.sum_logps.shape == found.n_tokens.shape == found.mask.shape == (2, 0)


@pytest.mark.parametrize(("trained_head", "times"), [(False, 1), (True, 2)])
def test_logits_exist_one_chunk_at_a_time(trained_head: bool, times: int) -> None:
    """Ten tokens in chunks of four: the head sees 4, 4 and 2 rows; a trained head sees them again going backward where
    no logits may be kept.

    The one row before them asks whether the head is trained.
    """
    seen: list[int] = []
    head = torch.randn(7, 3, requires_grad=trained_head)

    def logits(states: Tensor) -> Tensor:
        seen.append(len(states))
        return states @ head.T

    states, targets = torch.randn(10, 3, requires_grad=True), torch.arange(10) % 7
    weights = torch.linspace(-1, 2, 10)
    parameters = [states, head] if trained_head else [states]
    logps = target_logps(states, targets, logits, chunk_tokens=4, kept_bytes=0)
    gradients = torch.autograd.grad((weights * logps).sum(), parameters)
    assert sorted(seen) == sorted([1, *[4, 4, 2] * times])
    plain = (states @ head.T).log_softmax(-1).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(gradients, torch.autograd.grad((weights * plain).sum(), parameters))


def test_without_gradient_nothing_is_kept() -> None:
    head = torch.randn(7, 3)
    states = torch.randn(5, 3, requires_grad=True)
    with torch.no_grad():
        assert not target_logps(states, torch.arange(5), lambda s: s @ head.T).requires_grad


def test_frozen_model_with_an_adapter() -> None:
    """The head is frozen, the adapter below it is trained: gradients equal those of the plain path."""
    generator = CausalGenerator(tiny_llama(2), word_tokenizer(), chat=False)
    adapter = add_adapter(generator, lora_layers="upper_third", r=2, alpha=4, dropout=0.0, base_name="toy", seed=1)
    model = generator.model
    parameters = [p for p in adapter.parameters() if p.requires_grad]
    ours = completion_logps(PackedReader(model), PROMPTS[:1], COMPLETIONS[:1]).sum_logps[0]
    theirs = torch.stack([plain_sum(model, PROMPTS[0], completion) for completion in COMPLETIONS[0]])
    found = torch.autograd.grad(ours[0] - 2 * ours[1], parameters)
    expected = torch.autograd.grad(theirs[0] - 2 * theirs[1], parameters)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_half_precision_states_give_float32_log_probabilities() -> None:
    head = torch.randn(7, 3, dtype=torch.bfloat16)
    logps = target_logps(torch.randn(2, 3, dtype=torch.bfloat16), torch.tensor([1, 6]), lambda s: s @ head.T)
    assert logps.dtype == torch.float32
