"""Reinforcement learning on completions drawn afresh at every step: leave-one-out REINFORCE (RLOO).

Kool et al. 2019 (Buy 4 REINFORCE samples, get a baseline for free), Ahmadian et al. 2024 (arXiv 2402.14740), with the
KL penalty in the reward. Completions come from the sampling of `accord decode`, rewards from the scores of
`accord score`. Nothing drops out: the distribution that is drawn from is the one that is trained.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from accord.calibration.examples import Example
from accord.calibration.learning import Figures, Learning, Parts, StepBatch
from accord.calibration.objectives import reference_loss
from accord.calibration.offline import CalibrationLoss, candidate_figures
from accord.calibration.samples import VALIDATION, Samples, in_turn, per_prompt, sampler_of
from accord.calibration.settings import CalibrateSettings
from accord.candidates.logps import StateReader, completion_logps
from accord.errors import ConfigError
from accord.training.loop import LossSum

CLIP_RANGE = 0.2

StartLogps = Callable[[Sequence[Sequence[int]], Sequence[Sequence[Sequence[int]]]], Tensor]
"""Prompts and their completions as token ids -> Σ log π_start [B, K], without gradient."""


# -- mathematics ------------------------------------------------------------------------------------------------


def penalised_rewards(
    scores: Float[Tensor, " B K"],
    policy_logps: Float[Tensor, " B K"],
    start_logps: Float[Tensor, " B K"],
    *,
    kl_weight: float,
) -> Float[Tensor, " B K"]:
    """r = score − kl_weight · (log π(y | x) − log π_start(y | x)), of whole sequences, without gradient."""
    return scores - kl_weight * (policy_logps - start_logps).detach().to(scores)


def leave_one_out_advantages(rewards: Float[Tensor, " B K"]) -> Float[Tensor, " B K"]:
    """A_i = r_i − mean of the other K − 1 rewards of its prompt; they sum to 0. K is at least 2."""
    n_others = rewards.shape[1] - 1
    return rewards - (rewards.sum(dim=1, keepdim=True) - rewards) / n_others


def rloo_loss(
    policy_logps: Float[Tensor, " B K"],
    drawn_logps: Float[Tensor, " B K"],
    advantages: Float[Tensor, " B K"],
    *,
    clip_range: float = CLIP_RANGE,
) -> Float[Tensor, " B"]:
    """−mean over K of min(ρ·A, clip(ρ, 1 − ε, 1 + ε)·A), ρ = π(y | x) / π(y | x) when it was drawn.

    Where both are the same ρ is 1, the clipping idle, and the gradient REINFORCE's −A·∇log π(y | x). Advantages are
    not normalised.
    """
    ratios = (policy_logps - drawn_logps).exp()
    gains = torch.minimum(ratios * advantages, ratios.clamp(1 - clip_range, 1 + clip_range) * advantages)
    return -gains.mean(dim=1)


# -- one step ---------------------------------------------------------------------------------------------------


class AtTemperature(NamedTuple):
    """A reader of the distribution that is drawn from: logits divided by the temperature."""

    reader: StateReader
    temperature: float

    def completion_states(
        self, prompt_ids: Sequence[Sequence[int]], completion_ids: Sequence[Sequence[Sequence[int]]]
    ) -> Tensor:
        """See `Generator.completion_states`."""
        return self.reader.completion_states(prompt_ids, completion_ids)

    def output_logits(self, states: Tensor) -> Tensor:
        """See `Generator.output_logits`."""
        return self.reader.output_logits(states) / self.temperature

    @property
    def forbidden_tokens(self) -> tuple[int, ...]:
        """See `Generator.forbidden_tokens`."""
        return self.reader.forbidden_tokens

    def loss_positions(self, completion_ids: Sequence[int]) -> Sequence[int]:
        """See `Generator.loss_positions`."""
        return self.reader.loss_positions(completion_ids)


class SampleLosses(NamedTuple):
    """`loss` [B] with gradient, and per sample [B, K] the penalised reward and log π − log π_start in nats."""

    loss: Float[Tensor, " B"]
    rewards: Float[Tensor, " B K"]
    kl: Float[Tensor, " B K"]


def sample_losses(
    policy: StateReader,
    prompt_ids: Sequence[Sequence[int]],
    samples: Samples,
    start_logps: Float[Tensor, " B K"],
    *,
    kl_weight: float,
) -> SampleLosses:
    """RLOO of completions that the policy, as it is now, has drawn. The loss is 0 in value; its gradient counts."""
    policy_logps = completion_logps(policy, prompt_ids, samples.ids).sum_logps
    rewards = penalised_rewards(samples.scores, policy_logps, start_logps, kl_weight=kl_weight)
    advantages = leave_one_out_advantages(rewards).to(policy_logps)
    loss = rloo_loss(policy_logps, policy_logps.detach(), advantages)
    return SampleLosses(loss, rewards, (policy_logps - start_logps).detach())


# -- the objective ----------------------------------------------------------------------------------------------


def require_reward(settings: CalibrateSettings) -> None:
    """Refuse settings that contradict an objective whose rewards are made on the way.

    Raises:
        ConfigError: no preference model, shuffled scores, or dropout.
    """
    if settings.preference_model is None:
        raise ConfigError(
            "objective is 'rloo' and there is no preference_model. Expected the folder of `accord fit` whose score is "
            "the reward: pass --preference-model FOLDER."
        )
    if settings.score_control != "none":
        raise ConfigError(
            f"score_control is {settings.score_control!r} with objective 'rloo', which reads no scores of candidates: "
            "it makes its own. Set --score-control none."
        )
    if settings.lora_dropout > 0:
        raise ConfigError(
            f"lora_dropout is {settings.lora_dropout} with objective 'rloo', which trains the distribution that it "
            "draws from, without dropout. Set --lora-dropout 0."
        )


def learn_from_fresh_samples(parts: Parts) -> Learning:
    """RLOO: prompts and references are those of the candidates' file; its candidates serve validation figures alone."""
    settings, generator = parts.settings, parts.generator
    sampler, start_logps = sampler_of(parts), frozen_start(parts)
    policy = AtTemperature(generator, settings.temperature)

    def drawn(examples: Sequence[Example], *, occasion: str) -> tuple[Samples, SampleLosses]:
        prompt_ids = [example.prompt_ids for example in examples]
        samples = sampler.draw(examples, occasion=occasion)
        start = start_logps(prompt_ids, samples.ids)
        return samples, sample_losses(policy, prompt_ids, samples, start, kl_weight=settings.kl_weight)

    def loss_of(batch: StepBatch) -> LossSum:
        generator.model.eval()
        _, found = drawn(batch.examples, occasion=f"step {batch.step}")
        loss = found.loss - found.loss.detach() - found.rewards.mean(dim=1)  # the curve shows what sinks
        total = settings.ranking_weight * loss.sum()
        if settings.reference_weight > 0:
            total = total + settings.reference_weight * _reference_losses(generator, batch.examples).sum()
        return LossSum(total, float(len(batch.examples)))

    @torch.no_grad()
    def figures() -> Figures:
        parts_of_dev = [drawn(batch, occasion=VALIDATION) for batch in in_turn(parts.dev, settings.micro_batch_size)]
        known = candidate_figures(
            generator, _references_only(settings), parts.dev, micro_batch_size=settings.micro_batch_size
        )
        reward = per_prompt(found.rewards for _, found in parts_of_dev)
        return {
            "validation_loss": known["validation_loss"] - settings.ranking_weight * reward,
            "reward": reward,
            settings.utility: per_prompt(samples.scores for samples, _ in parts_of_dev),
            "kl": per_prompt(found.kl for _, found in parts_of_dev),
            **{name: known[name] for name in ("reference_loss", "kendall_tau", "pairwise_accuracy")},
        }

    return Learning(parts.examples, loss_of, figures)


def frozen_start(parts: Parts) -> StartLogps:
    """The generator as it is before training: its adapter switched off, or a copy of it where all weights train."""
    settings = parts.settings
    if settings.tuning == "lora":
        at_start, start = parts.trained.disable_adapter, parts.generator
    else:
        at_start, start = nullcontext, deepcopy(parts.generator)
    reader = AtTemperature(start, settings.temperature)

    @torch.no_grad()
    def start_logps(prompt_ids: Sequence[Sequence[int]], completion_ids: Sequence[Sequence[Sequence[int]]]) -> Tensor:
        with at_start():
            return completion_logps(reader, prompt_ids, completion_ids).sum_logps

    return start_logps


def _reference_losses(reader: StateReader, examples: Sequence[Example]) -> Float[Tensor, " B"]:
    prompt_ids = [example.prompt_ids for example in examples]
    logps = completion_logps(reader, prompt_ids, [example.reference_ids for example in examples])
    return reference_loss(logps.sum_logps, logps.n_tokens, logps.mask)


def _references_only(settings: CalibrateSettings) -> CalibrationLoss:
    """The references' part of the loss; how P of the candidates follows their scores is measured, not trained."""
    return CalibrationLoss(
        "of_candidates",
        lambda candidates: candidates.sum_logps.new_zeros(len(candidates.sum_logps)),
        settings.length_exponent,
        ranking_weight=0.0,
        reference_weight=settings.reference_weight,
    )
