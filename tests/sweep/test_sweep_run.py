"""Sweeps on toy data: stages are shared, an interrupted sweep goes on, a failed run loses no other."""

import json
import math
from pathlib import Path

import pytest

from accord.cli.main import main
from accord.errors import AccordError, ConfigError
from accord.json_files import read_json, read_jsonl
from accord.pipeline import PipelineSettings, Run, run_systems
from accord.records import Output
from accord.sweep import run as sweep_run
from accord.sweep.plan import read_sweep
from accord.sweep.run import SweepRun, failure_text, run_sweep
from toys import write_toy_run

BROKEN = """\
base: toy.yaml
vary:
- {name: two, generate.num_candidates: 2}
- {name: odd, generate.num_candidates: 3, generate.beams_per_group: 2}
seeds: [0, 1]
"""
NO_PROMPTS = ("source", "seed", "prepare", "fit")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    write_toy_run(folder)
    return folder


@pytest.fixture(scope="module")
def broken(folder: Path) -> tuple[SweepRun, list[str]]:
    (folder / "broken.yaml").write_text(BROKEN)
    lines: list[str] = []
    return run_sweep(read_sweep(folder / "broken.yaml"), output_dir=folder / "out", say=lines.append), lines


@pytest.fixture(scope="module")
def votes_only(folder: Path) -> tuple[Path, SweepRun]:
    """Three objectives, two seeds, no prompts."""
    text = "\n".join(line for line in (folder / "toy.yaml").read_text().splitlines() if line.startswith(NO_PROMPTS))
    path = folder / "votes.yaml"
    path.write_text(
        f"{text}\nevaluate: {{n_resamples: 50}}\nseeds: [0, 13]\nvary: {{fit.objective: [majority, votes, soft_mse]}}\n"
    )
    return path, run_sweep(read_sweep(path), output_dir=folder / "votes", say=lambda _: None)


def results(folder: Path) -> dict[tuple[str, str], float]:
    return {(row["name"], row["system"]): row["value"] for row in read_json(folder / "results.json")}


def test_a_failed_run_loses_no_other_and_is_named_at_the_end(broken: tuple[SweepRun, list[str]]) -> None:
    run, lines = broken
    assert list(run.failed) == ["odd, seed 0", "odd, seed 1"]
    assert run.n_runs == 4
    assert failure_text(run) == (
        "2 of 4 runs failed and are missing from the comparison. "
        + "".join(
            f"odd, seed {seed}: 3 candidates do not divide into groups of 2 beams. "
            "Set num_candidates to a multiple of beams_per_group. "
            for seed in (0, 1)
        )
        + "Give the same command again to try them alone."
    )
    assert run.evaluation is not None
    assert [name for _, name in results(run.evaluation)][:2] == ["base", "two"]
    (sweep,) = (run.report.parents[1] / "sweep").glob("*/sweep.json")
    found = json.loads(sweep.read_text())
    assert [(p["name"], p["seeds"]) for p in found["points"]] == [("two", [0, 1]), ("odd", [])]
    assert found["failed"] == ["odd, seed 0", "odd, seed 1"]
    page = (run.report / "report.html").read_text()
    assert "Runs that failed and are not in the comparison" in page
    assert sum(line.startswith("==") for line in lines) == 4


def test_points_and_seeds_share_what_they_agree_on(broken: tuple[SweepRun, list[str]]) -> None:
    """The data and the judge once; the preference model and the untouched generator once a seed."""
    _, lines = broken
    made = [line.split("  ")[0] for line in lines if " done in " in line]
    for name, times in {"prepare": 1, "independent": 1, "preference": 2, "outputs (base)": 2, "calibrated": 2}.items():
        assert made.count(name) == times, name
    assert "reference_only" not in made


def test_a_mended_sweep_redoes_nothing_but_what_failed(folder: Path, broken: tuple[SweepRun, list[str]]) -> None:
    """And the comparison then has every point, its seeds averaged: here of the length in words, by hand."""
    (folder / "broken.yaml").write_text(BROKEN.replace("beams_per_group: 2", "beams_per_group: 1"))
    lines: list[str] = []
    run = run_sweep(read_sweep(folder / "broken.yaml"), output_dir=folder / "out", say=lines.append)
    assert run.failed == {}
    start = lines.index("== odd, seed 0")
    assert all("reused" in line for line in lines[1:start])
    made = {line.split("  ")[0] for line in lines if " done in " in line}
    assert made == {"candidates", "scores", "calibrated", "outputs (calibrated)"}
    assert run.evaluation is not None
    found = results(run.evaluation)
    (outputs,) = (
        rows
        for path in (folder / "out" / "points").glob("*/outputs.jsonl")
        if (rows := list(read_jsonl(path, Output)))[0].system == "odd"
    )
    assert {row.seed for row in outputs} == {0, 1}
    assert found["length", "odd"] == pytest.approx(sum(len(row.completion.split()) for row in outputs) / len(outputs))
    pairs = {name for _, name in found if " - " in name}
    assert pairs == {"two - base", "odd - base", "odd - two"}
    assert not (folder / "out" / "sweep_votes").exists()


def test_an_interrupted_sweep_goes_on(votes_only: tuple[Path, SweepRun], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the fourth of six runs: three are kept."""
    path, finished = votes_only
    n_calls = 0

    def stop_at_fourth(*args: object, **options: object) -> Run:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 4:
            raise KeyboardInterrupt
        return run_systems(*args, **options)  # type: ignore[arg-type]

    plan, output_dir = read_sweep(path), path.parent / "again"
    with monkeypatch.context() as patch:
        patch.setattr(sweep_run, "run_systems", stop_at_fourth)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(plan, output_dir=output_dir, say=lambda _: None)
    lines: list[str] = []
    run = run_sweep(plan, output_dir=output_dir, say=lines.append)
    states = [line.split()[1] for line in lines if line.startswith("preference ")]
    assert states == ["reused"] * 3 + ["done"] * 3
    assert run.votes is not None
    assert finished.votes is not None
    assert results(run.votes) == results(finished.votes)


def test_a_bug_in_one_run_loses_no_other_and_shows_its_traceback(
    votes_only: tuple[Path, SweepRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One point then has one seed, the other two."""

    def fail_at_one(settings: PipelineSettings, **options: object) -> Run:
        if (settings.fit.objective, options["seed"]) == ("votes", 13):
            raise MemoryError("no room")
        return run_systems(settings, **options)  # type: ignore[arg-type]

    path, _ = votes_only
    monkeypatch.setattr(sweep_run, "run_systems", fail_at_one)
    lines: list[str] = []
    run = run_sweep(read_sweep(path), output_dir=path.parent / "votes", say=lines.append)
    assert run.failed == {"votes, seed 13": "MemoryError: no room"}
    assert any("Traceback" in line for line in lines)
    assert run.votes is not None
    counts = read_json(run.votes / "outputs.json")
    assert {name: row["n_seeds"] for name, row in counts.items()} == {
        "majority": 2,
        "votes": 1,
        "soft_mse": 2,
    }


def test_where_every_run_fails_there_is_nothing_to_compare(folder: Path) -> None:
    (folder / "all.yaml").write_text(
        BROKEN.replace("num_candidates: 2}", "num_candidates: 3, generate.beams_per_group: 2}")
    )
    with pytest.raises(AccordError, match=r"Every run of .*all\.yaml failed\. two, seed 0: 3 candidates do not divide"):
        run_sweep(read_sweep(folder / "all.yaml"), output_dir=folder / "out", say=lambda _: None)


def test_objectives_are_compared_on_held_out_votes(votes_only: tuple[Path, SweepRun]) -> None:
    """The mean of two seeds' log-losses per vote, by hand from the files of `accord fit`."""
    path, run = votes_only
    assert run.evaluation is None
    assert run.votes is not None
    found = results(run.votes)
    losses = []
    for fit in (path.parent / "votes" / "preference").glob("*"):
        if json.loads((fit / "stage.json").read_text())["settings"]["objective"] == "majority":
            rows = [json.loads(line) for line in (fit / "predictions.jsonl").read_text().splitlines()]
            test = [row for row in rows if row["split"] == "test" and row["n_votes"]]
            sums = [
                -row["n_acceptable"] * math.log(row["acceptance"])
                - (row["n_votes"] - row["n_acceptable"]) * math.log(1 - row["acceptance"])
                for row in test
            ]
            losses.append(sum(sums) / sum(row["n_votes"] for row in test))
    assert len(losses) == 2
    assert found["log_loss", "majority"] == pytest.approx(sum(losses) / 2)
    assert ("log_loss", "soft_mse - majority") in found
    signatures = {row["system"]: row["signature"] for row in read_json(run.votes / "results.json")}
    assert signatures["soft_mse - majority"].endswith("|holm:4")
    assert "|ci:bootstrap-50@0.95/group*seed:2" in signatures["majority"]
    text = (run.votes / "table.md").read_text()
    assert "held-out items, per vote, lower is better; every seed's model by itself, then averaged" in text
    assert "| point | items | seeds |" in text
    page = (run.report / "report.html").read_text()
    assert "The points&#39; preference models on held-out votes" in page


def test_the_page_can_be_made_again_from_the_folders(votes_only: tuple[Path, SweepRun], tmp_path: Path) -> None:
    path, run = votes_only
    assert run.votes is not None
    (sweep,) = {
        found.parent
        for found in (path.parent / "votes" / "sweep").glob("*/sweep.json")
        if json.loads(found.read_text())["failed"] == [] and len(json.loads(found.read_text())["points"]) == 3
    }
    page = tmp_path / "page"
    assert main(["report", "--sweep", str(sweep), "--votes", str(run.votes), "--output-dir", str(page)]) == 0
    text = (page / "report.html").read_text()
    assert '<section id="sweep"' in text
    assert "Log loss" in text
    assert main(["report", "--sweep", str(run.votes), "--output-dir", str(tmp_path / "wrong")]) == 2


def test_points_with_other_votes_cannot_be_compared(folder: Path, votes_only: tuple[Path, SweepRun]) -> None:
    path, _ = votes_only
    other = path.with_name("other.yaml")
    kept = [line for line in path.read_text().splitlines() if not line.startswith(("vary", "seeds"))]
    other.write_text("\n".join(kept) + '\nvary: {fit.annotators: [["a*"], ["b*"]]}\n')
    with pytest.raises(ConfigError, match=r'The preference model of annotators=\["b\*"\] has other held-out votes'):
        run_sweep(read_sweep(other), output_dir=folder / "votes", say=lambda _: None)


def test_the_command_line_shows_the_comparison_and_ends_with_what_failed(
    votes_only: tuple[Path, SweepRun], capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = votes_only
    broken_path = path.with_name("broken_votes.yaml")
    kept = [line for line in path.read_text().splitlines() if not line.startswith("vary")]
    odd = '{fit.objective: dpm_qr, fit.normaliser: "chunk:3"}'
    broken_path.write_text("\n".join(kept) + f"\nvary:\n- {{fit.objective: votes}}\n- {odd}\n")
    command = ["run", str(broken_path), "--output-dir", str(path.parent / "votes"), "--seed", "13"]
    assert main(command) == 2
    shown = capsys.readouterr()
    assert "held-out votes" in shown.out
    assert "votes" in shown.out
    last = shown.err.splitlines()[-1]
    assert last.startswith("accord: 1 of 2 runs failed and are missing from the comparison. objective=dpm_qr, ")
    assert main([*command, "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert list(found["failed"]) == ["objective=dpm_qr, normaliser=chunk:3, seed 13"]
    assert list(found["results"]) == ["votes"]


@pytest.mark.slow
def test_the_demo_as_a_base_brings_the_true_acceptance(folder: Path) -> None:
    """On tiny models; the panel's rules stand at the end of the page."""
    encoder, generator = folder / "encoder", folder / "generator"
    fit = f"{{model: {encoder}, encoder_layers: 1, max_length: 128, epochs: 1, n_resamples: 20}}"
    tiny = f"model: {generator}, system_prompt: null"
    lengths = "max_new_tokens: 4, min_new_tokens: 1, max_prompt_tokens: 40"
    path = folder / "demo.yaml"
    path.write_text(
        f"""\
base: demo
vary: {{generate.num_candidates: [2, 3]}}
fit: {fit}
independent: {fit}
generate: {{{tiny}, {lengths}}}
calibrate: {{{tiny}, epochs: 0.3, lora_r: 1}}
decode: {{{tiny}, {lengths}, samples: 1, max_reference_tokens: 8}}
evaluate: {{n_resamples: 20, n_randomisations: 50, metrics: [perplexity, length]}}
"""
    )
    run = run_sweep(read_sweep(path), output_dir=folder / "demo", say=lambda _: None)
    assert run.failed == {}
    assert run.evaluation is not None
    found = results(run.evaluation)
    for system in ("base", "num_candidates=2", "num_candidates=3"):
        assert 0 < found["true_acceptance", system] < 1
        assert found["perplexity", system] > 1
    page = (run.report / "report.html").read_text()
    assert "simulated" in page
