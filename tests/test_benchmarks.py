"""The benchmarks' own machinery: ratios, result files, the page between its markers, a peer that answers.

What the scripts measure is not tested; that both sides of each agree at tiny sizes is (slow).
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.claims import Claim, Timed, alternate, finish
from benchmarks.operations import weights_of
from benchmarks.peers import ROOT, Peer, PeerError, is_made, peer_python, venvs_dir
from benchmarks.performance_page import render_claims, render_growth, rewrite
from benchmarks.performance_plot import draw_growth
from benchmarks.shapes import build_model

MADE = Claim(
    claim="scoring",
    peer="another",
    versions={"torch": "2.13.0"},
    ours_seconds=[2.0, 4.0, 1.0],
    peer_seconds=[3.0, 4.0, 4.0],
    agree={"largest difference": 1.25e-7},
    settings={"pairs": 2000},
    floor=1.0,
    memory={"ours": 3 * 2**20, "peer": 5 * 2**20},
)


def test_the_ratio_is_of_the_same_round() -> None:
    """3/2, 4/4 and 4/1: the median is 1.5, while the medians' own ratio would be 4/2 = 2."""
    assert MADE.ratio == {"median": 1.5, "min": 1.0, "max": 4.0}
    assert Claim("a", "b", {}, [1.0], [], {}, {}).ratio == {}


def test_sides_take_turns() -> None:
    order: list[str] = []

    def side(name: str, seconds: float) -> Timed:
        order.append(name)
        return Timed(seconds, 0)

    runs = alternate({"ours": lambda: side("ours", 1.0), "peer": lambda: side("peer", 2.0)}, rounds=2)
    assert order == ["ours", "peer", "ours", "peer"]
    assert runs["peer"] == [Timed(2.0, 0)] * 2


def test_a_result_file_becomes_the_page(tmp_path: Path) -> None:
    path, page = tmp_path / "results" / "scoring.json", tmp_path / "performance.md"
    finish([MADE], argparse.Namespace(json=path, scale=1))
    page.write_text("# P\n\n<!-- claims:start -->\nold\n<!-- claims:end -->\n\nthe end\n")
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    assert rows[0]["rounds"] == 3
    rewrite(page, {"claims": render_claims(rows)})
    text = page.read_text()
    assert "old" not in text
    assert text.endswith("<!-- claims:end -->\n\nthe end\n")
    assert "| scoring | another | 2.0 s | 4.0 s | **1.50** (1.00 to 4.00) | 1 |" in text
    assert "| scoring against another | 3 MiB | 5 MiB |" in text
    assert "largest difference 1.25e-07" in text
    with pytest.raises(ValueError, match=r"performance\.md has no markers <!-- growth:start -->"):
        rewrite(page, {"growth": ""})


def test_growth_is_told_against_a_straight_line(tmp_path: Path) -> None:
    """1 s at 1× and 8 s at 16× is half of what linear growth would take."""
    rows = [
        {"claim": "scoring", "scale": scale, "ours_seconds": [seconds], "memory": {"ours": 2**20}}
        for scale, seconds in ((1, 1.0), (4, 3.0), (16, 8.0))
    ]
    table = render_growth(rows)
    assert "| scoring | 1.0 s, 1 MiB | 3.0 s, 1 MiB | 8.0 s, 1 MiB | 0.50 of it |" in table
    draw_growth(rows, tmp_path / "growth.svg")
    first = (tmp_path / "growth.svg").read_bytes()
    draw_growth(rows, tmp_path / "growth.svg")
    assert (tmp_path / "growth.svg").read_bytes() == first


def test_a_peer_answers_and_says_what_went_wrong() -> None:
    with Peer(Path(sys.executable), "benchmarks.data_path_peer") as peer:
        with pytest.raises(PeerError, match="FileNotFoundError"):
            peer.ask("run", path="nowhere.csv", labels=["no"], n_resamples=2, n_steps=1)
        with pytest.raises(PeerError, match="KeyError: 'unknown'"):
            peer.ask("unknown")


def test_an_environment_that_is_there_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_BENCH_VENVS", str(tmp_path))
    assert venvs_dir() == tmp_path
    assert not is_made("peer")
    (tmp_path / "peer").mkdir()
    (tmp_path / "peer" / "requirements.txt").write_text("torch==2.13.0\nsomething==1\n")
    assert peer_python("peer", ["something==1"]) == tmp_path / "peer" / "bin" / "python"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["candidates", "calibration_step", "calibration_rl", "scoring", "preference_fit", "data_path", "startup"],
)
def test_both_sides_agree_at_tiny_sizes(name: str, tmp_path: Path) -> None:
    needs = {"candidates": "transformers-4.56"}.get(name)
    if needs is not None and not is_made(needs):
        pytest.skip(f"the peer's environment {needs} is not made; make bench makes it")
    if not (ROOT / "benchmarks" / f"{name}.py").exists():
        pytest.skip(f"there is no benchmarks/{name}.py")
    path = tmp_path / "result.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--smoke", "--rounds", "1", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for row in json.loads(path.read_text()):
        assert row["ratio"]["median"] > 0
        assert row["agree"]


def test_a_claim_measured_anew_replaces_its_row_and_no_other(tmp_path: Path) -> None:
    """Also when the run stops later: a claim is written as soon as it is known."""
    path = tmp_path / "scoring.json"
    arguments = argparse.Namespace(json=path, scale=1)
    finish([MADE, replace(MADE, peer="a third")], arguments)

    def measured() -> Iterator[Claim]:
        yield replace(MADE, ours_seconds=[0.5, 0.5, 0.5])
        raise SystemExit("the gradients differ")

    with pytest.raises(SystemExit):
        finish(measured(), arguments)
    rows = json.loads(path.read_text())
    assert [(row["peer"], row["ours_seconds"][0]) for row in rows] == [("another", 0.5), ("a third", 2.0)]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        # three layers: q and o 48·48, k and v 48·16, three of 48·64 in the feed-forward block
        ("smollm2-135m", (3 * 15_360, 3 * 15_360, 500 * 48, 1)),
        # three layers: q, k, v, o of 32·32, a block of 2·32·64; the decoder's k and v over the prompt read prompts
        ("t5-small", (3 * (8_192 + 2_048), 3 * (4_096 + 2_048 + 4_096), 500 * 32, 0)),
        ("bart-base", (2 * (4_096 + 2 * 32 * 3_072 + 2_048), 2 * (4_096 + 2_048 + 2 * 32 * 3_072), 500 * 32, 0)),
    ],
)
def test_weights_are_counted_by_the_tokens_that_meet_them(shape: str, expected: tuple[int, int, int, int]) -> None:
    weights = weights_of(build_model(shape, smoke=True))
    assert tuple(weights) == expected
    prompt, completion, output, unread = expected
    in_all = 7 * prompt + 2 * ((3 - unread) * completion + 3 * output)
    found = weights.tera(prompt_tokens=7, n_completions=2, tokens_each=3, operations=2)
    assert found == pytest.approx(2e-12 * in_all)
