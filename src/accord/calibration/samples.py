"""Completions drawn while a generator is trained, and what people would say to them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from accord.calibration.examples import Example
from accord.calibration.learning import Figures, Learning, Parts
from accord.candidates.decode import completions
from accord.candidates.generators.protocol import Generator
from accord.scoring.reward import load_judge_on
from accord.scoring.score import Pair, score_pairs

VALIDATION = "validation"

Reward = Callable[[Sequence[Pair]], np.ndarray]
"""Prompts and completions -> the score of each [N], higher is better."""


class Samples(NamedTuple):
    """K completions of every prompt of a batch: token ids, and their scores in float64."""

    ids: list[list[list[int]]]
    scores: Float[Tensor, " B K"]


@dataclass(frozen=True)
class Sampler:
    """Draws completions as `accord decode` does, and has them scored as `accord score` does.

    The draws are keyed by `seed`, the occasion and the prompt's id, so that neither batch mates nor a restart change
    them.
    """

    generator: Generator
    reward: Reward
    num_samples: int
    temperature: float
    max_new_tokens: int
    seed: int

    def draw(self, examples: Sequence[Example], *, occasion: str) -> Samples:
        """`num_samples` completions of every prompt under the model as it is, cut at `max_new_tokens`."""
        found = completions(
            self.generator,
            [example.prompt_ids for example in examples],
            [f"{occasion}|{example.id}" for example in examples],
            method="sample",
            n=self.num_samples,
            seed=self.seed,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            prefixes=[example.forced_prefix for example in examples],
        )
        pairs: list[Pair] = [
            (example.prompt, self.generator.text(one.ids))
            for example, of_prompt in zip(examples, found, strict=True)
            for one in of_prompt
        ]
        ids = [
            [[*example.forced_prefix, *one.ids] for one in of_prompt]
            for example, of_prompt in zip(examples, found, strict=True)
        ]
        scores = torch.from_numpy(self.reward(pairs)).view(len(examples), self.num_samples)
        return Samples(ids, scores.to(self.generator.device))


def sampler_of(parts: Parts) -> Sampler:
    """The sampler that the settings describe; its preference model stands on the generator's device.

    Raises:
        ConfigError: a utility that the preference model cannot give. ArtifactError: no finished preference model.
    """
    settings = parts.settings
    assert settings.preference_model is not None, "the stage checks this"
    judge = load_judge_on(str(parts.generator.device), [settings.preference_model], utility=settings.utility)

    def reward(pairs: Sequence[Pair]) -> np.ndarray:
        return score_pairs(judge, pairs, utility=settings.utility).values

    return Sampler(
        parts.generator, reward, settings.num_samples, settings.temperature, settings.max_new_tokens, parts.seed
    )


def with_sampled_score(parts: Parts, learning: Learning) -> Learning:
    """The same learning; its figures tell the mean score of completions drawn for the validation prompts too."""
    sampler = sampler_of(parts)

    @torch.no_grad()
    def figures() -> Figures:
        batches = in_turn(parts.dev, parts.settings.micro_batch_size)
        scores = (sampler.draw(batch, occasion=VALIDATION).scores for batch in batches)
        return learning.figures() | {parts.settings.utility: per_prompt(scores)}

    return learning._replace(figures=figures)


def in_turn(examples: Sequence[Example], size: int) -> list[Sequence[Example]]:
    """Groups of `size` in their order."""
    return [examples[start : start + size] for start in range(0, len(examples), size)]


def per_prompt(of_batches: Iterable[Tensor]) -> np.ndarray:
    """The mean over each prompt's samples [N] of values [B, K] of all batches."""
    return torch.cat([values.double().mean(dim=1) for values in of_batches]).cpu().numpy()
