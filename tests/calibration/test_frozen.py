"""Kept frozen layers against the whole model: the same states, the same gradients."""

import torch
from torch import Tensor

from accord.calibration.adapter import add_adapter
from accord.calibration.frozen import FrozenTrunk, with_frozen_layers_kept
from accord.candidates.generators.causal import CausalGenerator
from accord.candidates.generators.protocol import Generator
from accord.candidates.generators.seq2seq import Seq2SeqGenerator
from accord.candidates.logps import StateReader
from toys import tiny_gpt2, tiny_llama, tiny_t5, word_tokenizer

PROMPTS = [[10, 11, 12, 13], [20, 21]]
COMPLETIONS = [[[14, 15, 5], [16, 5]], [[23, 24, 25, 5]]]


def adapted_generator() -> tuple[CausalGenerator, list[torch.nn.Parameter]]:
    generator = CausalGenerator(tiny_llama(3), word_tokenizer(), chat=False)
    adapter = add_adapter(generator, lora_layers="upper_third", r=2, alpha=4, dropout=0.0, base_name="toy", seed=1)
    parameters = [p for p in adapter.parameters() if p.requires_grad]
    with torch.no_grad():
        for parameter in parameters:
            parameter.normal_(std=0.1, generator=torch.manual_seed(0))  # larger ones only magnify rounding
    return generator, parameters


def test_states_and_gradients_equal_those_of_the_whole_model() -> None:
    generator, parameters = adapted_generator()
    keeper = FrozenTrunk(generator, 2)

    def gradients(states: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad((states * torch.linspace(-1, 1, states.shape[1])).sum(), parameters)

    expected = generator.completion_states(PROMPTS, COMPLETIONS)
    expected_gradients = gradients(expected)
    for _ in range(2):  # first sight, then kept
        found = keeper.completion_states(PROMPTS, COMPLETIONS)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(gradients(found), expected_gradients, atol=1e-4, rtol=1e-4)
    assert len(generator.layer_stacks["model.layers"]) == 3


def test_lower_layers_run_once_per_row() -> None:
    generator, _ = adapted_generator()
    runs = []
    generator.model.model.layers[0].register_forward_hook(lambda *_: runs.append(1))
    keeper = FrozenTrunk(generator, 2)
    for _ in range(3):
        keeper.completion_states(PROMPTS, COMPLETIONS)
    assert len(runs) == 2
    roomless = FrozenTrunk(generator, 2, max_bytes=0)
    for _ in range(3):
        roomless.completion_states(PROMPTS, COMPLETIONS)
    assert len(runs) == 2 + 6


def test_what_is_kept_does_not_depend_on_the_neighbours() -> None:
    """Bit for bit: a row first seen alone or in company gives the same states, so resuming changes nothing."""
    generator, _ = adapted_generator()
    one, other = FrozenTrunk(generator, 2), FrozenTrunk(generator, 2)
    one.completion_states(PROMPTS[:1], COMPLETIONS[:1])
    assert torch.equal(one.completion_states(PROMPTS, COMPLETIONS), other.completion_states(PROMPTS, COMPLETIONS))


def test_only_models_that_stay_exact_are_kept() -> None:
    def reader(generator: Generator, first_layer: int) -> StateReader:
        return with_frozen_layers_kept(generator, first_layer, prompt_ids=PROMPTS[0], completion_ids=COMPLETIONS[0])

    llama = CausalGenerator(tiny_llama(), word_tokenizer(), chat=False)
    gpt2 = CausalGenerator(tiny_gpt2(), word_tokenizer(), chat=False)
    t5 = Seq2SeqGenerator(tiny_t5(), word_tokenizer())
    assert isinstance(reader(llama, 2), FrozenTrunk)
    assert reader(llama, 0) is llama
    assert reader(gpt2, 1) is gpt2
    assert reader(t5, 1) is t5
