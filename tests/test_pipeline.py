"""The whole chain on toy data: it ends with a report, reuses what is finished, and redoes what depends on a change."""

import csv
import shutil
from pathlib import Path

import pytest

from accord.errors import ConfigError
from accord.json_files import read_json, read_jsonl
from accord.pipeline import read_pipeline, run_pipeline
from accord.records import CandidateSet, Output
from toys import save_tiny_seq2seq, write_toy_run


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    folder = tmp_path_factory.mktemp("toy")
    config_path, lines = write_toy_run(folder), list[str]()
    settings, seed = read_pipeline(config_path)
    run_pipeline(settings, output_dir=folder / "out", seed=seed, say=lines.append)
    return config_path, folder / "out", lines


def _redone(config_path: Path, output_dir: Path) -> set[str]:
    lines: list[str] = []
    settings, seed = read_pipeline(config_path)
    run_pipeline(settings, output_dir=output_dir, seed=seed, say=lines.append)
    return {line.split(" done in")[0].strip() for line in lines if " reused " not in line}


def test_the_chain_ends_with_a_report_and_says_what_it_does(toy_run: tuple[Path, Path, list[str]]) -> None:
    _, output_dir, lines = toy_run
    assert len(list((output_dir / "report").glob("*/report.html"))) == 1
    assert all("done in" in line for line in lines)
    assert lines[0].startswith("prepare")


def test_a_second_run_reuses_everything(toy_run: tuple[Path, Path, list[str]]) -> None:
    config_path, output_dir, _ = toy_run
    assert _redone(config_path, output_dir) == set()


def test_a_changed_setting_redoes_exactly_what_depends_on_it(toy_run: tuple[Path, Path, list[str]]) -> None:
    config_path, output_dir, _ = toy_run
    text = config_path.read_text()
    changes = {
        "n_randomisations: 100": ("n_randomisations: 100, level: 0.9", {"evaluation", "report"}),
        "lora_r: 2": (
            "lora_r: 1",
            {"calibrated", "reference_only", "shuffled", "evaluation", "report"}
            | {f"outputs ({name})" for name in ("calibrated", "reference_only", "shuffled")},
        ),
    }
    for old, (new, expected) in changes.items():
        changed_path = config_path.with_name("changed.yaml")
        changed_path.write_text(text.replace(old, new))
        assert _redone(changed_path, output_dir) == expected


def test_a_sequence_to_sequence_generator_goes_the_same_way(tmp_path: Path) -> None:
    config_path, lines = write_toy_run(tmp_path), list[str]()
    shutil.rmtree(tmp_path / "generator")
    save_tiny_seq2seq(tmp_path / "generator")
    settings, seed = read_pipeline(config_path)
    run_pipeline(settings, output_dir=tmp_path / "out", seed=seed, say=lines.append)
    assert any(line.startswith("outputs (calibrated)") for line in lines)
    assert len(list((tmp_path / "out" / "report").glob("*/report.html"))) == 1


def test_chosen_systems_alone_are_made_and_compared(toy_run: tuple[Path, Path, list[str]]) -> None:
    config_path, output_dir, _ = toy_run
    chosen_path = config_path.with_name("chosen.yaml")
    chosen_path.write_text(config_path.read_text() + "systems: [base, calibrated]\n")
    settings, seed = read_pipeline(chosen_path)
    run = run_pipeline(settings, output_dir=output_dir, seed=seed, say=lambda _: None)
    assert list(run.outputs) == ["base", "calibrated"]
    assert list(run.calibration) == ["calibrated"]
    assert run.evaluation is not None
    assert {row["system"] for row in read_json(run.evaluation / "comparisons.json")} == {"calibrated - base"}
    for wrong in ("[base, tuned]", "[]", "calibrated"):
        chosen_path.write_text(config_path.read_text() + f"systems: {wrong}\n")
        with pytest.raises(ConfigError, match=r"systems is .*\. Expected a list of some of base, best_of_k"):
            read_pipeline(chosen_path)


def test_an_unknown_key_and_differing_generators_are_refused(toy_run: tuple[Path, Path, list[str]]) -> None:
    config_path, output_dir, _ = toy_run
    text = config_path.read_text()
    wrong_path = config_path.with_name("wrong.yaml")
    wrong_path.write_text(text.replace("num_candidates", "num_candidate"))
    with pytest.raises(ConfigError, match=r'generate: unknown key "num_candidate"\. Did you mean "num_candidates"'):
        read_pipeline(wrong_path)
    wrong_path.write_text(text.replace("decode: {model: ", "decode: {model: other-"))
    settings, seed = read_pipeline(wrong_path)
    with pytest.raises(ConfigError, match="give the three the same model"):
        run_pipeline(settings, output_dir=output_dir, seed=seed)


CORPUS_RUN = """\
source: ${TOY_DATA}/items.jsonl
prompts: ${TOY_DATA}/all_prompts.jsonl
human_replies: true
second_opinion: true
independent: {model: "lexical:tfidf", annotators: ["b*"], n_resamples: 50}
scales:
  tiny:
    decode: {samples: 1, max_new_tokens: 4}
    evaluate: {n_resamples: 20}
  full: {}
"""


def test_one_file_of_prompts_human_replies_and_a_second_opinion_at_a_chosen_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Splits of one prompts file are kept apart; human replies are a system; a scale changes its own keys only."""
    toy_path = write_toy_run(tmp_path)
    rows = (tmp_path / "prompts.jsonl").read_text() + (tmp_path / "test_prompts.jsonl").read_text()
    (tmp_path / "all_prompts.jsonl").write_text(rows)
    replaced = ("source", "prompts", "test_prompts", "independent")
    lines = [line for line in toy_path.read_text().splitlines() if not line.startswith(replaced)]
    config_path = tmp_path / "corpus.yaml"
    config_path.write_text("\n".join(lines) + "\n" + CORPUS_RUN)
    with pytest.raises(ConfigError, match=r"corpus\.yaml has the scales tiny, full\. Choose one with --scale"):
        read_pipeline(config_path)
    with pytest.raises(ConfigError, match=r"no scale 'small'\. Expected one of tiny, full"):
        read_pipeline(config_path, scale="small")
    monkeypatch.delenv("TOY_DATA", raising=False)
    with pytest.raises(ConfigError, match="TOY_DATA is not set"):
        read_pipeline(config_path, scale="tiny")
    monkeypatch.setenv("TOY_DATA", str(tmp_path))
    settings, seed = read_pipeline(config_path, scale="tiny")
    assert (settings.decode.samples, settings.decode.max_new_tokens) == (1, 4)
    assert (settings.evaluate.n_resamples, settings.evaluate.n_randomisations) == (20, 100)
    assert settings.decode.model == read_pipeline(config_path, scale="full")[0].decode.model
    run = run_pipeline(settings, output_dir=tmp_path / "out", seed=seed, say=lambda _: None)
    assert run.candidates is not None
    assert run.evaluation is not None
    candidates = {row.id for row in read_jsonl(run.candidates / "candidates.jsonl", CandidateSet)}
    answered = {row.id for row in read_jsonl(run.outputs["calibrated"] / "outputs.jsonl", Output)}
    assert candidates
    assert answered
    assert not candidates & answered
    found = {(m["name"], m["system"]): m["value"] for m in read_json(run.evaluation / "results.json")}
    assert 0 < found["acceptance", "human"] < 1
    assert 0 < found["calibrating_acceptance", "base"] < 1
    assert found["bleu", "human"] is None
    assert found["bleu", "base"] is not None
    with (run.report / "tables" / "judges.csv").open() as file:
        judges = {row["system"]: row for row in csv.DictReader(file)}
    assert float(judges["human"]["independent model"]) == pytest.approx(found["acceptance", "human"])
    assert list(judges)[-1] == "all"


def test_without_prompts_the_chain_ends_with_the_preference_model(tmp_path: Path) -> None:
    toy_path = write_toy_run(tmp_path)
    kept = ("source", "seed", "prepare", "fit")
    config_path = tmp_path / "votes.yaml"
    text = "\n".join(line for line in toy_path.read_text().splitlines() if line.startswith(kept))
    config_path.write_text(text)
    lines: list[str] = []
    settings, seed = read_pipeline(config_path)
    run = run_pipeline(settings, output_dir=tmp_path / "out", seed=seed, say=lines.append)
    assert [line.split()[0] for line in lines] == ["prepare", "preference", "report"]
    assert run.evaluation is None
    assert (run.report / "report.html").is_file()
    config_path.write_text(text + "\nhuman_replies: true\n")
    settings, seed = read_pipeline(config_path)
    with pytest.raises(ConfigError, match="human_replies need prompts"):
        run_pipeline(settings, output_dir=tmp_path / "out", seed=seed)
