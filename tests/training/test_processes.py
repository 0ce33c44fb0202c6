"""Two real processes leave the model that one leaves; the first alone writes and prints."""

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

import two_processes
from accord.artifacts import require_complete
from accord.data.prepare import prepare_stage
from accord.data.settings import PrepareSettings
from accord.json_files import read_json, write_jsonl
from accord.preference.fit import fit_stage
from accord.preference.settings import FitSettings
from accord.records import CandidateSet
from accord.training import processes
from toys import save_tiny_causal_lm, save_tiny_encoder, toy_items, write_rows


class Outcome(NamedTuple):
    """Where one process wrote its stage folders, and where two did."""

    one: Path
    two: Path


def start(number: int, port: int, *arguments: str, n_processes: int = 2) -> "subprocess.Popen[str]":
    """One of several processes, as a launcher would start it."""
    told = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": n_processes, "LOCAL_WORLD_SIZE": n_processes}
    environment = os.environ | {name: str(value) for name, value in told.items()}
    environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "CUDA_VISIBLE_DEVICES": ""}
    environment |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, *arguments]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finished(started: "list[subprocess.Popen[str]]") -> list[str]:
    """What each process printed, once all have ended; none is left running."""
    try:
        return [process.communicate(timeout=240)[0] for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def toy_candidates() -> list[CandidateSet]:
    """Seven prompts, so that the last step is smaller, with two candidates and a reference each."""
    return [
        CandidateSet(
            id=f"p{number}",
            prompt=f"i feel {word} .",
            completions=("that sounds hard .", "stop ."),
            sum_logps=(-1.0, -1.0),
            n_tokens=(5, 3),
            search_scores=(-1.0, -1.0),
            scores=(0.9, 0.1),
            references=("sorry to hear that .",),
            group=f"p{number}",
            split="dev" if number > 4 else "train",
        )
        for number, word in enumerate(("sad", "tired", "lost", "bad", "happy", "okay", "fine"))
    ]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("processes")
    inputs = folder / "inputs"
    save_tiny_encoder(inputs / "encoder")
    save_tiny_causal_lm(inputs / "generator")
    write_jsonl(inputs / "candidates.jsonl", toy_candidates())
    source = write_rows(inputs / "items.jsonl", toy_items(14))
    prepare_stage(source, output_dir=inputs / "items", settings=PrepareSettings(n_resamples=5), seed=0)
    words = FitSettings(model="lexical:tfidf", n_folds=2, n_resamples=5)
    fit_stage(inputs / "items", output_dir=inputs / "preference", settings=words, seed=0)
    port, script = free_port(), two_processes.__file__
    assert script is not None
    started = [start(number, port, script, str(inputs), str(folder / "two")) for number in range(2)]
    printed = finished(started)
    assert [process.returncode for process in started] == [0, 0], "\n".join(printed)
    two_processes.run_all(inputs, folder / "one")
    return Outcome(folder / "one", folder / "two")


@pytest.mark.parametrize("case", two_processes.CASES)
def test_two_processes_leave_the_model_of_one(outcome: Outcome, case: str) -> None:
    """Dropout included: it is keyed by the micro-batch, not by who computes it."""
    one, two = require_complete(outcome.one / case), require_complete(outcome.two / case)
    weights = sorted(path.relative_to(one) for path in one.rglob("*.safetensors"))
    assert len(weights) == 1
    expected, found = load_file(one / weights[0]), load_file(two / weights[0])
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-5, msg=name)
    for ours, theirs in zip(read_json(one / "results.json"), read_json(two / "results.json"), strict=True):
        assert (ours["name"], ours["system"]) == (theirs["name"], theirs["system"])
        if ours["value"] is None or theirs["value"] is None:
            assert ours["value"] is theirs["value"]
        else:
            assert ours["value"] == pytest.approx(theirs["value"], abs=1e-4, rel=1e-5)
    assert (one / "stage.json").read_bytes() == (two / "stage.json").read_bytes()
    assert {p.relative_to(one) for p in one.rglob("*")} == {p.relative_to(two) for p in two.rglob("*")}


def test_a_resumed_run_of_two_processes_equals_an_undisturbed_one(outcome: Outcome) -> None:
    weights = [load_file(outcome.two / case / "model" / "model.safetensors") for case in ("full", "resumed")]
    for name, value in weights[0].items():
        assert torch.equal(weights[1][name], value), name


def test_something_was_trained_in_every_case(outcome: Outcome) -> None:
    for case in two_processes.CASES:
        curve = [json.loads(line) for line in (outcome.one / case / "curve.jsonl").read_text().splitlines()]
        assert curve[-1]["step"] >= 3, case
        assert all(math.isfinite(row["loss"]) for row in curve[1:]), case


def test_a_refusal_is_said_once_by_the_main_process(tmp_path: Path) -> None:
    arguments = ["-m", "accord.cli.main", "score", str(tmp_path), "--output-dir", str(tmp_path / "out")]
    started = [start(number, free_port(), *arguments) for number in range(2)]
    printed = finished(started)
    assert [process.returncode for process in started] == [2, 2]
    assert printed == [
        "accord: accord score runs in one process, but 2 were started. Start it without a launcher; only accord fit, "
        "tune and calibrate share their work.\n",
        "",
    ]


def test_one_process_talks_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_connected", None)
    assert (processes.n_processes(), processes.process_number(), processes.is_main()) == (1, 0, True)
    assert processes.own_share([1, 2, 3]) == [1, 2, 3]
    assert processes.from_main(lambda: 7) == 7
    assert processes.sum_over_processes(torch.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]


def test_every_item_belongs_to_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    shares = []
    for number in range(3):
        monkeypatch.setenv("RANK", str(number))
        shares.append(processes.own_share(range(8)))
    assert [list(share) for share in shares] == [[0, 3, 6], [1, 4, 7], [2, 5]]
