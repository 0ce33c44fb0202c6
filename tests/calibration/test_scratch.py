"""Models from scratch: what the tokenizer may see, what is drawn, what is written, and the chain that they start."""

from pathlib import Path

import msgspec
import pytest
import torch
from transformers import AutoTokenizer

from accord.calibration.calibrate import calibrate_stage
from accord.calibration.scratch import KINDS, ScratchSize, build_tokenizer, scratch_kind, write_scratch_model
from accord.calibration.settings import CalibrateSettings, TuneSettings
from accord.calibration.tune import tune_stage
from accord.candidates.decode import decode_stage
from accord.candidates.generate import generate_stage
from accord.candidates.generators.load import load_generator
from accord.candidates.settings import DecodeSettings, GenerateSettings
from accord.errors import ConfigError
from accord.json_files import read_json, read_jsonl, write_jsonl
from accord.records import CandidateSet, Message, Output, PromptRow

SIZE = ScratchSize(vocabulary=300, width=32, layers=1, positions=64)


def toy_rows(n_prompts: int = 12) -> list[PromptRow]:
    return [
        PromptRow(
            id=f"p{number}",
            prompt=(
                Message("assistant", "How are you?"),
                Message("user", f"I feel {('sad', 'tired', 'lost')[number % 3]} today."),
            ),
            references=(("Sorry to hear that.", "That sounds hard.", "Tell me more, please.")[number % 3],),
            split="dev" if number % 4 == 3 else "train",
        )
        for number in range(n_prompts)
    ]


@pytest.mark.parametrize("text", ["Sorry to hear that.", "  naïve – 日本 😀\n\tend ", "<s> and </s>"])
def test_every_text_comes_back(text: str) -> None:
    """Bytes are tokens, so nothing is unknown; a first word is a word like any other."""
    tokenizer = build_tokenizer(["sorry to hear that"] * 3, vocabulary=300, ends=True)
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokenizer.decode(ids).strip() == text.strip()
    assert tokenizer("sorry")["input_ids"][0] == tokenizer("and sorry")["input_ids"][-2]
    assert tokenizer("sorry")["input_ids"][-1] == tokenizer.eos_token_id


def test_the_order_of_the_texts_is_irrelevant() -> None:
    texts = [f"i feel {word} about my {thing}" for word in ("sad", "lost", "bad") for thing in ("work", "home")]
    one, other = (build_tokenizer(rows, vocabulary=290, ends=True) for rows in (texts, texts[::-1]))
    assert one.backend_tokenizer.to_str() == other.backend_tokenizer.to_str()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_written_whole_and_drawn_by_its_seed(kind: str, tmp_path: Path) -> None:
    rows = toy_rows()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_scratch_model(tmp_path / name, KINDS[kind], rows, size=SIZE, seed=seed)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "abc"]
    assert weights[0] == weights[1] != weights[2]
    tokenizers = [(tmp_path / name / "tokenizer.json").read_bytes() for name in "abc"]
    assert tokenizers[0] == tokenizers[1] == tokenizers[2]
    assert not list(tmp_path.glob("*/*.bin"))
    generator = load_generator(str(tmp_path / "a"))
    assert generator.completion_ids("Sorry.") == [*generator.completion_ids("Sorry.")[:-1], generator.eos_ids[0]]
    assert generator.text(generator.completion_ids("Sorry.")) == "Sorry."
    plain = AutoTokenizer.from_pretrained(tmp_path / "a")
    assert plain("Tell me")["input_ids"] == generator.tokenizer("Tell me")["input_ids"]
    logits = generator.encode([generator.prompt_ids("Hello"), generator.prompt_ids("I feel sad today.")]).logits
    assert logits.shape == (2, len(plain))
    assert torch.isfinite(logits).all()


def test_the_tokenizer_sees_the_training_split_alone(tmp_path: Path) -> None:
    """A word that only validation and test use is no token."""
    rows = [
        row if row.split == "train" else msgspec.structs.replace(row, references=("zebra zebra zebra",) * 9)
        for row in toy_rows()
    ]
    rows.append(PromptRow("t", "zebra zebra", references=("zebra",) * 9, split="test"))
    write_jsonl(tmp_path / "prompts.jsonl", rows)
    folder = tune_stage(tmp_path / "prompts.jsonl", output_dir=tmp_path / "out", settings=toy_settings("bart"), seed=1)
    vocabulary = read_json(folder / "generator" / "tokenizer.json")["model"]["vocab"]
    assert "Ġsad" in vocabulary
    assert not [token for token in vocabulary if "ze" in token]


def toy_settings(kind: str) -> TuneSettings:
    return TuneSettings(
        model=f"scratch:{kind}",
        scratch_width=32,
        scratch_layers=1,
        scratch_vocabulary=340,
        max_prompt_tokens=48,
        max_reference_tokens=16,
        learning_rate=3e-3,
        epochs=30,
        batch_size=9,
        eval_every=30,
    )


def test_the_chain_from_scratch(tmp_path: Path) -> None:
    """tune -> diverse candidates -> scores -> calibrate -> decode, on a BART that has seen nothing but the toy."""
    prompts = tmp_path / "prompts.jsonl"
    write_jsonl(prompts, toy_rows())
    tuned = tune_stage(prompts, output_dir=tmp_path / "tuned", settings=toy_settings("bart"), seed=1)
    perplexity = {
        row["system"]: row["value"] for row in read_json(tuned / "results.json") if row["name"] == "perplexity"
    }
    assert perplexity["tuned"] < 0.2 * perplexity["base"]
    config = read_json(tuned / "generator" / "config.json")
    assert (config["model_type"], config["d_model"], config["max_position_embeddings"]) == ("bart", 32, 56)
    generate = GenerateSettings(model=str(tuned), num_candidates=3, max_new_tokens=8, max_prompt_tokens=48)
    found = generate_stage(prompts, output_dir=tmp_path / "found", settings=generate, seed=1)
    rows = list(read_jsonl(found / "candidates.jsonl", CandidateSet))
    assert all(len(set(row.completions)) == len(row.completions) for row in rows)
    scored = tmp_path / "scored.jsonl"
    write_jsonl(
        scored,
        [msgspec.structs.replace(row, scores=tuple(-float(len(text)) for text in row.completions)) for row in rows],
    )
    calibrate = CalibrateSettings(model=str(tuned), epochs=2, eval_every=3, lora_r=2, learning_rate=1e-2, margin=0.1)
    calibrated = calibrate_stage(scored, output_dir=tmp_path / "calibrated", settings=calibrate, seed=1)
    decode = DecodeSettings(model=str(calibrated), max_new_tokens=8, max_reference_tokens=16)
    decoded = decode_stage(prompts, system="c", output_dir=tmp_path / "decoded", settings=decode, seed=1)
    outputs = list(read_jsonl(decoded / "outputs.jsonl", Output))
    assert len(outputs) == len(rows)
    assert all(output.reference_logp is not None for output in outputs)


def test_sizes_and_names_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for size, text in (
        (SIZE._replace(width=48), r"scratch_width is 48\. Expected a multiple of 32"),
        (SIZE._replace(vocabulary=200), r"scratch_vocabulary is 200\. Expected at least 259: 256 bytes"),
    ):
        with pytest.raises(ConfigError, match=text):
            write_scratch_model(tmp_path / "model", KINDS["bart"], toy_rows(), size=size, seed=1)
    assert scratch_kind("builtin:smollm2") is None
    with pytest.raises(
        ConfigError, match=r"model scratch:bart has no weights yet\. Expected a trained model: make one"
    ):
        load_generator("scratch:bart")
