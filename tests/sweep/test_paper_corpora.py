"""The paper's tables 1 and 3 from raw corpora: hand-made files of ten rows in the published formats, toy models."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from accord.sweep.paper import PaperRun, run_paper
from accord.sweep.paper_plan import read_paper
from toys import save_tiny_encoder, save_tiny_seq2seq

CONFIGS = Path(__file__).parents[2] / "configs" / "paper"
CASES = Path(__file__).parents[1] / "cases"
FIT = {"tuning": "head", "max_length": 64, "epochs": 2, "batch_size": 8, "n_folds": 2, "n_resamples": 20}
TUNE = {
    "epochs": 1,
    "batch_size": 2,
    "micro_batch_size": 2,
    "eval_every": 1,
    "warmup_steps": 0,
    "max_prompt_tokens": 40,
}
CALIBRATE = {**TUNE, "patience": None}
EVALUATE = {"n_resamples": 20, "word_vectors": "builtin:minilm", "bertscore_model": "builtin:minilm"}


def toy_generator(folder: Path, base: Path, changes: dict[str, Any]) -> Path:
    """A run file over one of the shipped generators at scale full, with toy models and everything small."""
    model = {"model": save_tiny_seq2seq(folder / "bart"), "generator_kind": "auto"}
    fit = {**FIT, "model": save_tiny_encoder(folder / "encoder"), "learning_rate": 1e-3}
    values: dict[str, Any] = {
        "base": str(base),
        "prepare": {"n_resamples": 20},
        "fit": fit,
        "independent": {**fit, "annotators": []},  # ten rows have too few words for a lexical judge
        "tune": {**TUNE, **model},
        "generate": {**model, "num_candidates": 3, "min_new_tokens": 1, "max_new_tokens": 5, "max_prompt_tokens": 40},
        "calibrate": {**CALIBRATE, **model},
        "decode": {**model, "min_new_tokens": 1, "max_new_tokens": 5, "max_prompt_tokens": 40},
        "rerank": {"k": 2, "picks": 1},
    }
    for section, keys in changes.items():
        values[section] = {**values[section], **keys} if section in values else keys
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump({**values, "scales": {"full": {}}}))
    return path


def run_table(name: str, generator: Path, published: str, folder: Path, **changes: Any) -> PaperRun:
    """A shipped table at scale full with the toy generator alone, under one seed."""
    values = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    values["scales"] = {"full": {"generators": [{"name": "toy", "base": str(generator), "published": published}]}}
    values["evaluate"] = {**values["evaluate"], **EVALUATE, **changes}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**values, "seeds": [0]}))
    return run_paper(read_paper(path, scale="full"), output_dir=folder / "out", say=lambda _: None)


def write_esconv(folder: Path) -> None:
    """Six dialogues in the format of the published splits."""
    folder.mkdir(parents=True)
    for split, numbers in {"train": (1, 2, 3), "valid": (4, 5), "test": (6, 7)}.items():
        lines = []
        for number in numbers:
            said = ["I lost my job today .", "sorry to hear that .", f"I feel sad {number} .", "tell me more ."]
            dialog = [
                {
                    "speaker": "sys" if place % 2 else "usr",
                    "text": text,
                    **({"strategy": "Question"} if place % 2 else {}),
                }
                for place, text in enumerate(said)
            ]
            lines.append(json.dumps({"emotion_type": "sadness", "problem_type": "job crisis", "dialog": dialog}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


def rows_of(run: PaperRun, name: str) -> list[list[str]]:
    """Model, row and whose numbers of every line of the table."""
    lines = (run.report / "tables" / f"{name}.csv").read_text().splitlines()[1:]
    return [line.replace('"', "").split(",")[:3] for line in lines]


@pytest.mark.slow
def test_table_1_from_a_hand_made_mi_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_DATA_DIR", str(tmp_path / "data"))
    shutil.copytree(CASES / "mi", tmp_path / "data" / "mi")
    write_esconv(tmp_path / "data" / "esconv")
    generator = toy_generator(
        tmp_path,
        CONFIGS / "generators" / "blender.yaml",
        {"prepare": {"fractions": [0.5, 0.25, 0.25]}, "fit": {"annotators": []}},
    )
    run = run_table("table1", generator, "MultiESC", tmp_path)
    assert run.failed == {}
    ours = [row[1] for row in rows_of(run, "table1") if row[2] == "this run"]
    assert ours == [
        "Base",
        "Aligned_major",
        "Aligned_soft",
        "Aligned_w/oA",
        "Aligned_d-PM",
        "d-PM as released",
        "reference only",
        "shuffled scores",
        "best of K",
        "DPO",
    ]


@pytest.mark.slow
def test_table_3_from_a_hand_made_mic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three ways of decoding, each with its own Base, beside the published rows of the same decoding."""
    monkeypatch.setenv("ACCORD_DATA_DIR", str(tmp_path / "data"))
    shutil.copytree(CASES / "mic", tmp_path / "data" / "mic")
    generator = toy_generator(tmp_path, CONFIGS / "generators" / "mic.yaml", {})
    run = run_table("table3", generator, "T5 (Small)", tmp_path, bertscore_layer=1)
    assert run.failed == {}
    rows = rows_of(run, "table3")
    assert len(rows) == 18
    text = (run.report / "report.md").read_text()
    for decoding in ("Beam", "Greedy", "p=0.9"):
        for row in ("Base", "Aligned_soft", "Aligned_d-PM"):
            assert f"| toy | {decoding}, {row} | this run |" in text
            assert f"| T5 (Small) | {decoding}, {row} | paper, Table 3 |" in text
