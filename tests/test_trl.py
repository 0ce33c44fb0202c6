"""TRL takes what accord exports: the reward function, the one-logit classifier, the pairs. Needs the extra `trl`."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import accord
from accord.json_files import write_jsonl
from accord.preference.export import export_reward_stage
from accord.preference.model import PreferenceConfig, PreferenceModel, save_preference_model
from accord.records import CandidateSet, Split
from toys import WORDS, save_tiny_causal_lm, save_tiny_encoder, tiny_bert, tiny_llama, word_tokenizer, write_rows

pytest.importorskip("trl", reason="the extra trl is not installed: pip install 'accord[trl]'")

PAGE = Path(__file__).parents[1] / "docs" / "export.md"
PROMPTS = ["i feel sad .", "i lost my job today .", "i feel tired about my work ."]
ACCEPTED = set(WORDS[::2])
"""The toy panel accepts these replies of one word and no other."""


@pytest.fixture(scope="module")
def preference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fitted by accord with its default tuning on the votes of three annotators for every word as a reply."""
    folder = tmp_path_factory.mktemp("panel")
    items = [
        {
            "id": f"{number}-{word}",
            "prompt": prompt,
            "completion": word,
            "split": "dev" if (place + number) % 3 == 0 else "train",
            "annotations": [
                {"annotator": annotator, "label": "acceptable" if word in ACCEPTED else "unacceptable"}
                for annotator in ("a", "b", "c")
            ],
        }
        for number, prompt in enumerate(PROMPTS)
        for place, word in enumerate(WORDS)
    ]
    source = write_rows(folder / "items.jsonl", items)
    settings = accord.PrepareSettings(n_resamples=20, disjoint_text="none")
    prepared = accord.prepare_stage(source, output_dir=folder / "items", settings=settings, seed=0)
    settings = accord.FitSettings(
        model=save_tiny_encoder(folder / "encoder"), max_length=32, dropout=0.0, weight_decay=0.0, learning_rate=1e-2,
        n_folds=2, n_resamples=20,
    )  # fmt: skip
    return accord.fit_stage(prepared, output_dir=folder / "model", settings=settings, seed=0)


def arguments(output_dir: Path, **options: Any) -> dict[str, Any]:
    """What every trainer of TRL gets here: a processor, three steps, no files, no services."""
    return {
        "output_dir": str(output_dir), "use_cpu": True, "bf16": False, "max_steps": 3, "seed": 0, "report_to": "none",
        "save_strategy": "no", "logging_steps": 1, "disable_tqdm": True, "activation_checkpointing": False,
        "lr_scheduler_type": "constant", **options,
    }  # fmt: skip


def expected_reward(model: Any, tokenizer: Any, reward: Any) -> float:
    """The mean reward of one-word replies to the prompts under the model, exactly: Σ_w p(w | prompt) · reward(w)."""
    texts = tokenizer.batch_decode([[token] for token in range(model.config.vocab_size)], skip_special_tokens=True)
    means = []
    for prompt in PROMPTS:
        with torch.no_grad():
            logits = model(**tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)).logits[0, -1]
        means.append(float(logits.softmax(-1) @ torch.tensor(reward([prompt] * len(texts), texts))))
    return float(np.mean(means))


def train_online(algorithm: str, reward: Any, output_dir: Path) -> Any:
    """Three steps of a tiny random Llama; the trainer, with what it has logged."""
    import trl
    from datasets import Dataset

    config = getattr(trl, f"{algorithm}Config")(
        **arguments(
            output_dir, learning_rate=3e-3, per_device_train_batch_size=48, num_generations=16, beta=0.0,
            max_completion_length=1,
        )
    )  # fmt: skip
    trainer = getattr(trl, f"{algorithm}Trainer")(
        model=tiny_llama(),
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": PROMPTS * 4}),
        processing_class=word_tokenizer(),
    )
    trainer.train()
    return trainer


def truth(prompts: list[str], completions: list[str]) -> list[float]:
    """What the toy panel says itself."""
    return [float(text in ACCEPTED) for text in completions]


@pytest.mark.parametrize("algorithm", ["GRPO", "RLOO"])
def test_three_steps_on_our_reward_raise_it(preference: Path, tmp_path: Path, algorithm: str) -> None:
    """Replies of one word, so that the mean reward before and after is a sum over the vocabulary and no estimate."""
    reward = accord.as_trl_reward(preference)
    tokenizer = word_tokenizer()
    before = expected_reward(tiny_llama(), tokenizer, reward)
    trainer = train_online(algorithm, reward, tmp_path)
    after = expected_reward(trainer.model.eval(), tokenizer, reward)
    assert after > before + 0.2
    logged = [entry for entry in trainer.state.log_history if "rewards/accord_acceptance/mean" in entry]
    assert len(logged) == 3
    assert all(0 <= entry["rewards/accord_acceptance/mean"] <= 1 for entry in logged)
    assert [entry["accord/completions_cut"] for entry in logged] == [0.0] * 3


def test_the_panel_itself_accepts_more_and_of_the_opposite_reward_less(preference: Path, tmp_path: Path) -> None:
    reward, tokenizer = accord.as_trl_reward(preference), word_tokenizer()

    def opposite(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
        return [1.0 - value for value in reward(prompts, completions, **columns)]

    before = expected_reward(tiny_llama(), tokenizer, truth)
    raised = expected_reward(train_online("GRPO", reward, tmp_path / "up").model.eval(), tokenizer, truth)
    lowered = expected_reward(train_online("GRPO", opposite, tmp_path / "down").model.eval(), tokenizer, truth)
    assert lowered < before - 0.1 < before + 0.1 < raised


# -- the one-logit classifier -----------------------------------------------------------------------------------


def export_classifier(folder: Path) -> Path:
    config = PreferenceConfig(
        id2label={0: "unacceptable", 1: "acceptable"}, max_input_tokens=64, pooling="first_token", head_size=8
    )
    model = PreferenceModel.from_encoder(tiny_bert(), config, seed=3)
    save_preference_model(model, word_tokenizer(pair_template=True), folder / "preference", card="")
    return export_reward_stage(folder / "preference", output_dir=folder / "exported")


def export_pairs(folder: Path, **settings: Any) -> Path:
    """Four training prompts and one each for validation and test."""
    words: dict[str, Split] = {
        "sad": "train",
        "lost": "train",
        "tired": "dev",
        "bad": "train",
        "fine": "test",
        "okay": "train",
    }
    rows = [
        CandidateSet(
            str(number), f"i feel {word} .", ("sorry to hear that .", "stop !", "yes"), (-1.0,) * 3, (2,) * 3,
            (-1.0,) * 3, scores=(0.75, 0.125, 0.5), split=split,
        )
        for number, (word, split) in enumerate(words.items())
    ]  # fmt: skip
    write_jsonl(folder / "scored.jsonl", rows)
    return accord.export_pairs_stage(
        folder / "scored.jsonl", output_dir=folder / "pairs", settings=accord.PairsSettings(**settings)
    )


def load_splits(folder: Path, cache_dir: Path) -> Any:
    """As the documentation loads them."""
    from datasets import load_dataset

    return load_dataset("json", data_dir=str(folder), cache_dir=str(cache_dir))


def test_the_reward_trainer_starts_from_the_exported_model(tmp_path: Path) -> None:
    """It is loaded by its path, gives accord's logits before the first step, and trains on the exported pairs."""
    from transformers import AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    exported = export_classifier(tmp_path)
    trainer = RewardTrainer(
        model=str(exported),
        args=RewardConfig(**arguments(tmp_path, per_device_train_batch_size=2, max_length=64)),
        train_dataset=load_splits(export_pairs(tmp_path, format="standard"), tmp_path)["train"],
        processing_class=AutoTokenizer.from_pretrained(exported),
    )
    prompts, completions = ["i feel sad .", "i lost my job ."], ["yes", "tell me more ?"]
    inputs = AutoTokenizer.from_pretrained(exported)(prompts, completions, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = trainer.model.eval()(**inputs).logits[:, 0]
    expected = accord.as_trl_reward(tmp_path / "preference", utility="logit")(prompts, completions)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    trainer.train()
    assert trainer.state.global_step == 3


# -- pairs ------------------------------------------------------------------------------------------------------


def test_the_pairs_load_with_their_splits(tmp_path: Path) -> None:
    found = load_splits(export_pairs(tmp_path, pairing="all"), tmp_path)
    assert {name: len(rows) for name, rows in found.items()} == {"train": 12, "validation": 3, "test": 3}
    assert found["validation"][0]["prompt"] == [{"role": "user", "content": "i feel tired ."}]


def tiny_chat_model(folder: Path) -> str:
    """A model folder as a trainer takes it by its path: a tiny Llama, its tokenizer with a chat template."""
    save_tiny_causal_lm(folder)
    tokenizer = word_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }} </s> {% endfor %}"
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("layout", ["conversational", "standard"])
def test_dpo_trains_on_the_pairs(tmp_path: Path, layout: str) -> None:
    from trl import DPOConfig, DPOTrainer

    trainer = DPOTrainer(
        model=tiny_chat_model(tmp_path / "generator"),
        args=DPOConfig(**arguments(tmp_path, per_device_train_batch_size=4, learning_rate=1e-3, max_length=64)),
        train_dataset=load_splits(export_pairs(tmp_path, format=layout), tmp_path)["train"],
    )
    trainer.train()
    margins = [entry["rewards/margins"] for entry in trainer.state.log_history if "rewards/margins" in entry]
    assert margins[0] == pytest.approx(0.0, abs=1e-6)
    assert margins[-1] > 0.01


# -- documentation ----------------------------------------------------------------------------------------------


def test_the_examples_of_the_page_run(preference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python block of docs/export.md in order, with tiny models and three steps on a processor."""
    import datasets

    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS * 8])
    generator = tiny_chat_model(tmp_path / "generator")
    stand_ins = {
        "path/to/generator": generator,
        "runs/preference": str(preference),
        "runs/reward": str(export_classifier(tmp_path)),
        "runs/pairs": str(export_pairs(tmp_path)),
        "prompts.jsonl": str(tmp_path / "prompts.jsonl"),
        'GRPOConfig(output_dir="runs/grpo")': "GRPOConfig(**few_steps, max_completion_length=2)",
        'DPOConfig(output_dir="runs/dpo")': "DPOConfig(**few_steps)",
    }
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    names: dict[str, Any] = {"few_steps": arguments(tmp_path, per_device_train_batch_size=8)}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        for found, stand_in in stand_ins.items():
            block = block.replace(found, stand_in)
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["trainer"].state.global_step == 3
    unwrapped = names["plain_prompt_acceptance"]([[{"role": "user", "content": PROMPTS[0]}]], ["sad"])
    assert unwrapped == names["judge"]([PROMPTS[0]], ["sad"])
