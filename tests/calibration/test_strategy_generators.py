"""A generator that writes after a strategy goes the whole way: tuned, its candidates calibrated on, decoded."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from accord.calibration.calibrate import calibrate_stage
from accord.calibration.examples import encode_rows
from accord.calibration.samples import Sampler
from accord.calibration.settings import CalibrateSettings, TuneSettings
from accord.calibration.tune import tune_stage
from accord.candidates.decode import decode_stage
from accord.candidates.generate import generate_stage
from accord.candidates.generators.blender import BlenderJointGenerator
from accord.candidates.generators.load import load_generator
from accord.candidates.settings import DecodeSettings, GenerateSettings
from accord.errors import DataError
from accord.json_files import read_jsonl, write_jsonl
from accord.records import CandidateSet, Output, PromptRow
from accord.scoring.score import Pair
from toys import tiny_joint

REPLIES = {"Question": "what did you do ?", "Information": "you need more sleep .", "Others": "yes ."}


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    rows = [
        PromptRow(
            f"p{number}",
            f"i feel {('sad', 'tired')[number % 2]} about my {('work', 'home', 'mother')[number % 3]} .",
            (REPLIES[strategy],),
            group=f"g{number}",
            split="dev" if number % 4 == 3 else "train",
            strategy=strategy,
        )
        for number, strategy in enumerate(list(REPLIES) * 4)
    ]
    write_jsonl(tmp_path / "prompts.jsonl", rows)
    return tmp_path / "prompts.jsonl"


def save_blender(folder: Path) -> str:
    """With the strategies' tokens already, because words of theirs are unknown to the toy tokenizer."""
    for part in tiny_joint(10):
        part.save_pretrained(folder)
    return str(folder)


def tuned(prompts: Path, folder: Path, **changes: Any) -> Path:
    settings = TuneSettings(generator_kind="blender-joint", learning_rate=1e-2, epochs=20, batch_size=9, eval_every=20)
    return tune_stage(prompts, output_dir=folder, settings=replace(settings, **changes), seed=0)


def scored(prompts: Path, folder: Path, model: Path) -> Path:
    """Candidates whose score is how often they hold a full stop, less a little for each later one."""
    settings = GenerateSettings(model=str(model), num_candidates=3, max_new_tokens=8, batch_tokens=200)
    stage = generate_stage(prompts, output_dir=folder, settings=settings, seed=0)
    rows = [
        msgspec.structs.replace(
            row, scores=tuple(text.count(".") - 0.1 * place for place, text in enumerate(row.completions))
        )
        for row in read_jsonl(stage / "candidates.jsonl", CandidateSet)
    ]
    write_jsonl(folder / "scored.jsonl", rows)
    return folder / "scored.jsonl"


def test_joint_is_tuned_calibrated_and_decoded(prompts: Path, tmp_path: Path) -> None:
    """The kind is asked for once and remembered to the end, in a whole model's folder and in an adapter's."""
    start = tuned(prompts, tmp_path / "tuned", model=save_blender(tmp_path / "blender"))
    candidates = scored(prompts, tmp_path / "candidates", start)
    rows = list(read_jsonl(candidates, CandidateSet))
    assert {row.strategy for row in rows} == set(REPLIES)
    settings = CalibrateSettings(model=str(start), epochs=1, lora_r=2, eval_every=1)
    folder = calibrate_stage(candidates, output_dir=tmp_path / "calibrated", settings=settings, seed=0)
    assert isinstance(load_generator(str(folder), device="cpu"), BlenderJointGenerator)
    for model in (start, folder):
        decode = DecodeSettings(model=str(model), max_new_tokens=8, strategy="gold", max_reference_tokens=20)
        stage = decode_stage(prompts, system="s", output_dir=tmp_path / f"{model.name}-out", settings=decode, seed=0)
        outputs = list(read_jsonl(stage / "outputs.jsonl", Output))
        assert [row.strategy for row in outputs] == [row.strategy for row in rows]
        assert [row.reference_tokens for row in outputs] == [
            len(REPLIES[str(row.strategy)].split()) + 1 for row in rows
        ]


def test_tuning_teaches_the_strategy_too(prompts: Path, tmp_path: Path) -> None:
    """Before, a strategy that no row holds is likeliest for some; after, never."""
    before = save_blender(tmp_path / "blender")
    after = tuned(prompts, tmp_path / "tuned", model=before)
    likeliest = []
    for number, model in enumerate((before, str(after))):
        settings = DecodeSettings(model=model, generator_kind="blender-joint", max_new_tokens=2, strategy="argmax")
        stage = decode_stage(prompts, system="s", output_dir=tmp_path / str(number), settings=settings, seed=0)
        likeliest.append({row.strategy for row in read_jsonl(stage / "outputs.jsonl", Output)})
    assert likeliest[0] - set(REPLIES)
    assert likeliest[1] <= set(REPLIES)


def test_fresh_samples_follow_the_rows_strategy() -> None:
    """What reinforcement learning draws: the strategy stands before each sample and is no part of its text."""
    generator = BlenderJointGenerator(*tiny_joint(10), name="joint")
    row = CandidateSet("p", "why", ("yes .",), (-1.0,), (3,), (-1.0,), scores=(1.0,), strategy="Information")
    examples = encode_rows([row], generator, max_prompt_tokens=9, score_control="none", seed=0)
    seen: list[Pair] = []

    def reward(pairs: Sequence[Pair]) -> np.ndarray:
        seen.extend(pairs)
        return np.arange(float(len(pairs)))

    sampler = Sampler(generator, reward, num_samples=4, temperature=1.0, max_new_tokens=6, seed=0)
    (ids,) = sampler.draw(examples, occasion="step 0").ids
    prefix = examples[0].forced_prefix
    assert all(one[:1] == prefix and not set(one[1:]) & set(generator.forbidden_tokens) for one in ids)
    assert [pair[1] for pair in seen] == [generator.text(one) for one in ids]
    assert {pair[0] for pair in seen} == {"why"}


def test_the_strategy_is_read_but_not_counted_in_calibration() -> None:
    generator = BlenderJointGenerator(*tiny_joint(10), name="joint")
    row = CandidateSet("p", "why", ("yes .", "no ."), (-1.0, -2.0), (3, 3), (-1.0, -2.0), scores=(1.0, 0.0))
    options: dict[str, Any] = {"max_prompt_tokens": 9, "score_control": "none", "seed": 0}
    (example,) = encode_rows([msgspec.structs.replace(row, strategy="Others")], generator, **options)
    (strategy_id,) = example.forced_prefix
    assert generator.tokenizer.convert_ids_to_tokens(strategy_id) == "[Others]"
    assert [ids[0] for ids in example.candidate_ids] == [strategy_id] * 2
    assert [list(generator.loss_positions(ids)) for ids in example.candidate_ids] == [[1, 2, 3], [1, 2, 3]]
    assert example.n_unfinished == 0
    with pytest.raises(DataError, match=r"prompt 'p' has no strategy, but generator 'joint' writes after one"):
        encode_rows([row], generator, **options)
