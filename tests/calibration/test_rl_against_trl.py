"""RLOO and DPO are TRL's: the same tensors give the same advantages, losses and gradients. Needs the extra `trl`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM

from accord.calibration.dpo import dpo_loss
from accord.calibration.examples import encode_rows
from accord.calibration.learning import Parts, StepBatch
from accord.calibration.rloo import (
    learn_from_fresh_samples,
    leave_one_out_advantages,
    penalised_rewards,
    rloo_loss,
    sample_losses,
)
from accord.calibration.samples import Sampler, Samples
from accord.calibration.settings import CalibrateSettings
from accord.candidates.generators.causal import CausalGenerator
from accord.candidates.logps import completion_logps
from accord.records import CandidateSet
from accord.training.loop import train
from toys import WORDS, tiny_llama, word_tokenizer

pytest.importorskip("trl", reason="the extra trl is not installed: pip install 'accord[trl]'")

PROMPTS = ["i feel sad .", "i lost my job today .", "i feel tired about my work ."]
K = 3
TEXTS = ["stop", "that sounds hard .", "yes", "sorry", "go home .", "tell me more", "why", "no no no !", "i know ."]
REWARDS = [0.9, -0.4, 0.1, 0.5, 0.5, 0.7, 2.0, 0.3, -1.0]
"""Asymmetric on purpose; the fourth and fifth tie."""


class Given(NamedTuple):
    """What both sides are handed: token ids of prompts and of K completions each, the last without its end."""

    prompt_ids: list[list[int]]
    completion_ids: list[list[list[int]]]


def given(generator: CausalGenerator) -> Given:
    ids = [generator.completion_ids(text) for text in TEXTS]
    ids[-1] = ids[-1][:-1]
    return Given([generator.prompt_ids(p) for p in PROMPTS], [ids[n * K : (n + 1) * K] for n in range(len(PROMPTS))])


def arguments(output_dir: Path, **options: Any) -> dict[str, Any]:
    return {
        "output_dir": str(output_dir), "use_cpu": True, "bf16": False, "report_to": "none", "save_strategy": "no",
        "disable_tqdm": True, "activation_checkpointing": False, "seed": 0, **options,
    }  # fmt: skip


def with_adapter(model: Any) -> Any:
    """Under a LoRA adapter, as it starts."""
    torch.manual_seed(5)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"], task_type="CAUSAL_LM")
    return get_peft_model(model, config)


def move(model: Any) -> None:
    """As after some steps: what is trained is no longer the start, which the trainer has kept."""
    torch.manual_seed(6)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn_like(weight))


def gradients(model: Any) -> dict[str, Tensor]:
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def assert_same_gradients(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert max(float(value.abs().max()) for value in expected.values()) > 1e-2
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-4, rtol=1e-4, msg=name)


# -- RLOO -------------------------------------------------------------------------------------------------------


def rloo_trainer(model: Any, output_dir: Path, **options: Any) -> Any:
    """TRL's trainer on the toy prompts; its completions and rewards are ours, everything after that its own."""
    import trl
    from datasets import Dataset

    rewards = dict(zip(TEXTS, REWARDS, strict=True))

    def reward(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        return [rewards[text] for text in completions]

    trainer = trl.RLOOTrainer(
        model=model,
        reward_funcs=reward,
        args=trl.RLOOConfig(
            **arguments(output_dir, per_device_train_batch_size=len(TEXTS), num_generations=K, **options)
        ),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
        processing_class=word_tokenizer(),
    )
    tokens = given(CausalGenerator(tiny_llama(), word_tokenizer()))
    flat = [ids for group in tokens.completion_ids for ids in group]
    trainer._generate = lambda prompts: ([tokens.prompt_ids[PROMPTS.index(p)] for p in prompts], flat, TEXTS)
    return trainer


def trl_batch(trainer: Any) -> dict[str, Tensor]:
    """Fixed samples through TRL's own scoring: rewards, KL penalty, leave-one-out advantages."""
    found: dict[str, Tensor] = trainer._generate_and_score_completions(
        [{"prompt": p} for p in PROMPTS for _ in range(K)]
    )
    return found


@pytest.mark.parametrize("kl_weight", [0.0, 0.3])
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_one_step_of_rloo_has_the_gradient_of_trl(tuning: str, kl_weight: float, tmp_path: Path) -> None:
    start = CausalGenerator(tiny_llama(), word_tokenizer())
    tiny_llama().save_pretrained(tmp_path / "model")  # where TRL loads the start from
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    trainer = rloo_trainer(with_adapter(model) if tuning == "lora" else model, tmp_path, beta=kl_weight)
    move(trainer.model)
    batch = trl_batch(trainer)
    trainer._compute_loss(trainer.model, batch).backward()
    expected = gradients(trainer.model)
    trainer.model.zero_grad()

    generator = CausalGenerator(trainer.model, word_tokenizer())
    tokens = given(generator)
    with torch.no_grad():
        start_logps = completion_logps(start, tokens.prompt_ids, tokens.completion_ids).sum_logps
        drawn_logps = completion_logps(generator, tokens.prompt_ids, tokens.completion_ids).sum_logps
    scores = torch.tensor(REWARDS, dtype=torch.float64).view(-1, K)
    samples = Samples(tokens.completion_ids, scores)
    found = sample_losses(generator, tokens.prompt_ids, samples, start_logps, kl_weight=kl_weight)
    found.loss.mean().backward()  # type: ignore[no-untyped-call]
    assert_same_gradients(gradients(trainer.model), expected)
    rewards = penalised_rewards(scores, drawn_logps, start_logps, kl_weight=kl_weight)
    torch.testing.assert_close(rewards, found.rewards)
    advantages = leave_one_out_advantages(rewards)
    torch.testing.assert_close(advantages.flatten().float(), batch["advantages"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(drawn_logps.flatten(), batch["old_logps"], atol=1e-4, rtol=1e-4)


def test_clipping_is_that_of_trl(tmp_path: Path) -> None:
    """Samples drawn by another model: ratios far from 1 on both sides, of both signs of advantage."""
    trainer = rloo_trainer(tiny_llama(0), tmp_path, beta=0.0)
    batch = trl_batch(trainer)
    shifts = torch.tensor([0.5, -0.5, 0.1, -0.3, 0.4, -0.1, 0.0, 0.3, 1.0])
    batch["old_logps"] = batch["old_logps"] - shifts
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    expected = gradients(trainer.model)
    trainer.model.zero_grad()
    generator = CausalGenerator(trainer.model, word_tokenizer())
    policy_logps = completion_logps(generator, *given(generator)).sum_logps
    found = rloo_loss(policy_logps, batch["old_logps"].view(-1, K), batch["advantages"].view(-1, K)).mean()
    found.backward()  # type: ignore[no-untyped-call]
    assert float(found.detach()) == pytest.approx(float(loss.detach()), abs=1e-5)
    assert_same_gradients(gradients(trainer.model), expected)


# -- RLOO, learning ---------------------------------------------------------------------------------------------

N_STEPS, N_DRAWS, RATE, KL_WEIGHT = 20, 16, 2e-3, 0.05
ACCEPTED = set(WORDS[::2])


def toy_rewards(completions: Sequence[str]) -> list[float]:
    """The toy panel accepts every second word and nothing else; replies have one token."""
    return [float(text in ACCEPTED) for text in completions]


@torch.no_grad()
def expected_reward(model: Any) -> float:
    """The mean reward over the prompts, exactly: Σ_w p(w | prompt) · reward(w)."""
    tokenizer = word_tokenizer()
    texts = [tokenizer.decode([token], skip_special_tokens=True) for token in range(model.config.vocab_size)]
    rewards = torch.tensor(toy_rewards(texts))
    prompt_ids = [CausalGenerator(model, tokenizer).prompt_ids(prompt) for prompt in PROMPTS]
    probs = [model(torch.tensor([ids])).logits[0, -1].softmax(-1) for ids in prompt_ids]
    return float(sum(p @ rewards for p in probs) / len(probs))


def our_curve(folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    settings = CalibrateSettings(
        model=str(folder), objective="rloo", tuning="full", num_samples=N_DRAWS, max_new_tokens=1, reference_weight=0.0,
        kl_weight=KL_WEIGHT,
    )  # fmt: skip
    generator = CausalGenerator(AutoModelForCausalLM.from_pretrained(folder), word_tokenizer())
    rows = [
        CandidateSet(f"p{n}", prompt, ("yes",), (-1.0,), (2,), (-1.0,), scores=(0.5,))
        for n, prompt in enumerate(PROMPTS)
    ]
    examples = encode_rows(rows, generator, max_prompt_tokens=64, score_control="none", seed=0)
    sampler = Sampler(
        generator, lambda pairs: np.array(toy_rewards([text for _, text in pairs])), N_DRAWS, 1.0, 1, seed
    )
    monkeypatch.setattr("accord.calibration.rloo.sampler_of", lambda _: sampler)
    learning = learn_from_fresh_samples(
        Parts(settings, seed, generator, generator, generator.model, examples, examples)
    )
    result = train(
        generator.model,
        loss_of=learning.loss_of,
        micro_batches_at=lambda step: [StepBatch(step, learning.examples)],
        n_steps=N_STEPS,
        evaluate=lambda: {"validation_loss": -expected_reward(generator.model)},
        select_on="validation_loss",
        eval_every=1,
        patience=None,
        learning_rate=RATE,
        weight_decay=0.0,
        seed=seed,
        checkpoint_dir=None,
        label="ours",
    )
    return [-row["validation_loss"] for row in result.curve]


def trl_curve(folder: Path, seed: int, output_dir: Path) -> list[float]:
    import trl
    from datasets import Dataset
    from transformers import TrainerCallback

    model = AutoModelForCausalLM.from_pretrained(folder)
    curve = [expected_reward(model)]

    class Watch(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            curve.append(expected_reward(model.eval()))
            model.train()

    def reward(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        return toy_rewards(completions)

    options = arguments(
        output_dir, per_device_train_batch_size=N_DRAWS * len(PROMPTS), num_generations=N_DRAWS, beta=KL_WEIGHT,
        max_completion_length=1, max_steps=N_STEPS, learning_rate=RATE, lr_scheduler_type="linear", weight_decay=0.0,
    )  # fmt: skip
    trainer = trl.RLOOTrainer(
        model=model,
        reward_funcs=reward,
        args=trl.RLOOConfig(**(options | {"seed": seed})),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
        processing_class=word_tokenizer(),
        callbacks=[Watch()],
    )
    trainer.train()
    return curve


@pytest.mark.slow
def test_both_learn_a_toy_reward_at_the_same_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 8 seeds, the areas under the two curves of the exact expected reward agree within 15 % of the gain."""
    tiny_llama().save_pretrained(tmp_path / "model")
    ours = np.array([our_curve(tmp_path / "model", seed, monkeypatch) for seed in range(8)])
    theirs = np.array([trl_curve(tmp_path / "model", seed, tmp_path / "trl") for seed in range(8)])
    assert ours.shape == theirs.shape == (8, N_STEPS + 1)
    assert ours[0, 0] == pytest.approx(theirs[0, 0])
    gain = theirs.mean(axis=0)[-1] - theirs[0, 0]
    assert gain > 0.3
    assert abs(ours.mean() - theirs.mean()) < 0.15 * gain, f"areas {ours.mean():.3f} and {theirs.mean():.3f}"


# -- DPO --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_dpo_is_that_of_trl(tuning: str, tmp_path: Path) -> None:
    """Sigmoid loss of TRL's own batch of three pairs, best against worst, the start being another model."""
    import trl
    from datasets import Dataset

    rows = [
        {"prompt": prompt + " ", "chosen": TEXTS[3 * n], "rejected": TEXTS[3 * n + 1]}
        for n, prompt in enumerate(PROMPTS)
    ]
    start = tiny_llama()
    trainer = trl.DPOTrainer(
        model=tiny_llama() if tuning == "full" else with_adapter(tiny_llama()),
        ref_model=start if tuning == "full" else None,
        args=trl.DPOConfig(**arguments(tmp_path, per_device_train_batch_size=3, beta=0.3, max_length=64)),
        train_dataset=Dataset.from_list(rows),
        processing_class=word_tokenizer(),
    )
    move(trainer.model)
    batch = next(iter(trainer.get_train_dataloader()))
    loss = trainer.compute_loss(trainer.model, dict(batch))
    loss.backward()
    expected = gradients(trainer.model)
    trainer.model.zero_grad()

    prompts, chosen = ids_of(batch, range(3))
    same_prompts, rejected = ids_of(batch, range(3, 6))
    assert prompts == same_prompts
    pairs = [list(pair) for pair in zip(rejected, chosen, strict=True)]
    generator = CausalGenerator(trainer.model, word_tokenizer())
    with torch.no_grad():
        start_logps = completion_logps(CausalGenerator(start, word_tokenizer()), prompts, pairs).sum_logps
    ratios = completion_logps(generator, prompts, pairs).sum_logps - start_logps
    scores = torch.tensor([[0.2, 0.7]] * 3)
    found = dpo_loss(ratios, scores, torch.ones(3, 2, dtype=torch.bool), beta=0.3).mean()
    found.backward()  # type: ignore[no-untyped-call]
    assert float(found.detach()) == pytest.approx(float(loss.detach()), abs=1e-6)
    assert_same_gradients(gradients(trainer.model), expected)


def ids_of(batch: dict[str, Tensor], rows: range) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts and completions of some rows of TRL's batch, without padding."""
    prompts, completions = [], []
    for row in rows:
        ids, kept = batch["input_ids"][row], batch["attention_mask"][row].bool()
        is_completion = batch["completion_mask"][row].bool()
        prompts.append(ids[kept & ~is_completion].tolist())
        completions.append(ids[kept & is_completion].tolist())
    return prompts, completions
