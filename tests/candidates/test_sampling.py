"""Draws from truncated distributions, keyed by what they are for."""

from typing import Any

import numpy as np
import pytest
import torch

from accord.candidates.diverse_beam import Hypothesis
from accord.candidates.generators.causal import CausalGenerator
from accord.candidates.processors import without_repeated_ngrams
from accord.candidates.sampling import inverse_cdf, sampled, truncated_probs
from accord.errors import ConfigError
from beam_models import seeded_model
from toys import word_tokenizer

PROMPT = [3, 4, 5]


def draw(model: Any, uniforms: torch.Tensor, **changes: Any) -> list[list[Hypothesis]]:
    encoded = CausalGenerator(model, word_tokenizer(), chat=False).encode([PROMPT] * len(uniforms))
    return sampled(encoded, uniforms=uniforms, **{"eos_ids": [1, 2], "pad_id": 0, **changes})


def uniform_numbers(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).random(shape))


def test_the_quantile_of_a_small_distribution() -> None:
    """p = (0.2, 0, 0.5, 0.3): borders at 0.2, 0.2, 0.7, 1; a token without probability is never drawn."""
    probs = torch.tensor([0.2, 0.0, 0.5, 0.3]).expand(6, 4)
    uniforms = torch.tensor([0.0, 0.19, 0.21, 0.69, 0.71, 1 - 2**-53], dtype=torch.float64)
    assert inverse_cdf(probs, uniforms).tolist() == [0, 0, 2, 2, 3, 3]


def test_the_quantile_scales_with_any_sum() -> None:
    probs = torch.tensor([[0.0, 0.2, 0.2]])
    assert inverse_cdf(probs, torch.tensor([0.4], dtype=torch.float64)).tolist() == [1]
    assert inverse_cdf(probs, torch.tensor([0.6], dtype=torch.float64)).tolist() == [2]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [0, 1, 2, 3]),
        ({"top_k": 2}, [0, 3]),
        ({"top_p": 0.3}, [0]),  # at least one
        ({"top_p": 0.6}, [0, 3]),  # 0.5 alone is not enough
        ({"top_p": 0.85}, [0, 2, 3]),
        ({"top_k": 2, "top_p": 0.6}, [0]),  # after top_k, 0.5 is 0.5 / 0.8 = 0.625
    ],
)
def test_truncation_keeps_the_likeliest(options: dict[str, Any], kept: list[int]) -> None:
    """p = (0.5, 0.05, 0.15, 0.3)."""
    probs = truncated_probs(torch.tensor([[0.5, 0.05, 0.15, 0.3]]).log(), **options)
    assert probs[0].nonzero().flatten().tolist() == kept


@pytest.mark.parametrize("options", [{"top_p": 0.7}, {"top_k": 5}, {"top_k": 9, "top_p": 0.5}])
def test_truncation_equals_the_warpers_of_transformers(options: dict[str, Any]) -> None:
    from transformers.generation.logits_process import TopKLogitsWarper, TopPLogitsWarper

    logits = torch.randn(8, 24, generator=torch.Generator().manual_seed(0)) * 2
    expected = logits
    if "top_k" in options:
        expected = TopKLogitsWarper(options["top_k"])(None, expected)
    if "top_p" in options:
        expected = TopPLogitsWarper(options["top_p"])(None, expected)
    found = truncated_probs(logits, **options)
    torch.testing.assert_close(found / found.sum(dim=1, keepdim=True), expected.softmax(dim=1))


def test_first_tokens_follow_the_models_distribution() -> None:
    """4,000 draws at temperature 2 against the exact probabilities; 4 standard errors are 0.03 at most."""
    model = seeded_model("llama", 3)
    (found,) = draw(model, uniform_numbers(1, 4000, 1), temperature=2.0)
    shares = np.bincount([one.ids[0] for one in found], minlength=24) / 4000
    with torch.no_grad():
        probs = (model(input_ids=torch.tensor([PROMPT])).logits[0, -1] / 2.0).softmax(dim=-1)
    np.testing.assert_allclose(shares, probs.numpy(), atol=0.03)


def test_a_draws_neighbours_and_their_early_ends_change_nothing() -> None:
    model = seeded_model("llama", 22)
    uniforms = uniform_numbers(4, 3, 10)
    together = draw(model, uniforms)
    alone = [draw(model, uniforms[row : row + 1, column : column + 1]) for row in range(4) for column in range(3)]
    assert [one.ids for row in together for one in row] == [only.ids for ((only,),) in alone]
    assert len({len(one.ids) for row in together for one in row}) > 2


def test_sum_logp_is_the_models_own_whatever_the_temperature() -> None:
    model = seeded_model("gpt2", 20)
    for (one,) in draw(model, uniform_numbers(5, 1, 8), temperature=0.5, top_p=0.8):
        with torch.no_grad():
            logps = model(input_ids=torch.tensor([[*PROMPT, *one.ids]])).logits[0].double().log_softmax(dim=-1)
        expected = sum(float(logps[len(PROMPT) - 1 + place, token]) for place, token in enumerate(one.ids))
        assert one.sum_logp == pytest.approx(expected, abs=1e-4)
        assert one.search_score == pytest.approx(one.sum_logp / len(one.ids))
        assert one.is_finished == (one.ids[-1] in (1, 2))


def test_minimum_length_and_no_repeats_hold() -> None:
    found = draw(
        seeded_model("llama", 22), uniform_numbers(6, 2, 10), min_new_tokens=5, processors=[without_repeated_ngrams(1)]
    )
    for one in (one for row in found for one in row):
        assert len(one.ids) > 5
        assert len(set(one.ids)) == len(one.ids)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0. Expected more than 0; for the likeliest token use greedy"),
        ({"top_p": 0.0}, "top_p is 0.0. Expected more than 0"),
        ({"top_k": -1}, "top_k is -1. Expected 0"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        draw(seeded_model("gpt2", 0), uniform_numbers(1, 1, 2), **changes)
