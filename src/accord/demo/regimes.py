"""The simulated panel in the regimes where estimators differ: the sample pack's replies, judged anew, truth known.

Texts, annotators and rules are the demo's. Each regime changes how the panel's logits become votes: what the panel
thinks, not what the texts say. `python -m accord.demo.regimes --output-dir FOLDER` writes one folder per regime with
what `accord recover` reads (items.jsonl, scheme.json) and the truth beside it (truth.jsonl).
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.special import expit, logit

from accord.artifacts import open_stage
from accord.data.prepared import ITEMS_FILE, SCHEME_FILE
from accord.data.schemes import load_scheme
from accord.demo.pack import demo_items
from accord.demo.panel import panel, panel_acceptance, rules_markdown
from accord.json_files import write_json, write_jsonl
from accord.randomness import keyed_rng
from accord.records import Annotation, Item

VERSION = 1
TRUTH_FILE = "truth.jsonl"
N_VOTES = 16
"""Votes per item: up to 8 can be shown while as many stay hidden."""


class Regime(NamedTuple):
    """How the panel's logits become votes.

    `mean_acceptance`: all logits are shifted by one number that brings the mean true acceptance of the pack's replies
    here. `scale` multiplies the logits first; `of_one_mind`: every annotator has the panel's mean logit; `hidden`: an
    item's logits move by a draw that no text shows, with the standard deviation of the mean logits between items, so
    that it is half of the variance; `flip_rate`: votes slip.
    """

    mean_acceptance: float = 0.5
    scale: float = 1.0
    of_one_mind: bool = False
    hidden: bool = False
    flip_rate: float = 0.0


REGIMES: Mapping[str, Regime] = {
    "balanced": Regime(),
    "imbalanced": Regime(mean_acceptance=0.8),
    "noisy_consensus": Regime(scale=4.0, of_one_mind=True, flip_rate=0.15),
    "half_hidden": Regime(hidden=True),
}


class Truth(msgspec.Struct, frozen=True):
    """What the whole panel thinks of one item (one line of truth.jsonl).

    `acceptance`: the share that would accept it, without slips; `vote_share`: the probability that a vote accepts.
    """

    id: str
    acceptance: float
    vote_share: float


def write_regimes(output_dir: Path, *, seed: int = 0, n_votes: int = N_VOTES) -> list[Path]:
    """One folder per regime: items.jsonl, scheme.json and truth.jsonl; returns the folders."""
    return [_write_regime(output_dir / name, name, seed=seed, n_votes=n_votes) for name in REGIMES]


def regime_items(name: str, *, seed: int, n_votes: int = N_VOTES) -> tuple[list[Item], list[Truth]]:
    """The pack's replies with the votes of `n_votes` of the 60 annotators each, and the truth of each.

    Who votes, how, and what stays hidden is keyed by (seed, regime, item id).
    """
    regime, items = REGIMES[name], demo_items(seed)
    logits = regime_logits(regime, items, seed=seed)
    judged = [
        _judge(item, of_item, regime, n_votes=n_votes, rng=keyed_rng(seed, "regime", name, item.id))
        for item, of_item in zip(items, logits, strict=True)
    ]
    return [item for item, _ in judged], [truth for _, truth in judged]


def regime_logits(regime: Regime, items: Sequence[Item], *, seed: int) -> Float[np.ndarray, "N M"]:
    """What each of the 60 annotators thinks of each item: the logit of accepting it, slips aside."""
    logits = np.stack([logit(panel_acceptance(_message(item), item.completion)) for item in items])
    means = logits.mean(axis=1, keepdims=True)
    if regime.of_one_mind:
        logits = np.broadcast_to(means, logits.shape)
    if regime.hidden:
        draws = [keyed_rng(seed, "hidden", item.id).normal(0.0, means.std()) for item in items]
        logits = logits + np.array(draws)[:, None]
    scaled = regime.scale * logits
    shift = brentq(lambda move: expit(scaled + move).mean() - regime.mean_acceptance, -100.0, 100.0)
    return np.asarray(scaled + shift)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the regimes and say where."""
    parser = argparse.ArgumentParser(description="Write the simulated panel's regimes as items with known truth.")
    parser.add_argument("--output-dir", type=Path, default=Path("runs/regimes"))
    parser.add_argument("--seed", type=int, default=0)
    parsed = parser.parse_args(arguments)
    for folder in write_regimes(parsed.output_dir, seed=parsed.seed):
        sys.stdout.write(f"{folder / ITEMS_FILE}\n")


# -- steps ------------------------------------------------------------------------------------------------------


def _write_regime(output_dir: Path, name: str, *, seed: int, n_votes: int) -> Path:
    settings = {"regime": REGIMES[name]._asdict(), "n_votes": n_votes, "panel": rules_markdown()}
    stage = open_stage(output_dir, stage="demo_regime", version=VERSION, settings=settings, seed=seed, inputs={})
    if not stage.is_complete:
        items, truths = regime_items(name, seed=seed, n_votes=n_votes)
        write_jsonl(stage.path(ITEMS_FILE), items)
        write_jsonl(stage.path(TRUTH_FILE), truths)
        write_json(stage.path(SCHEME_FILE), load_scheme("acceptable"))
        stage.finish()
    return stage.folder


def _judge(
    item: Item, logits: np.ndarray, regime: Regime, *, n_votes: int, rng: np.random.Generator
) -> tuple[Item, Truth]:
    acceptance = expit(logits)
    vote_shares = (1 - 2 * regime.flip_rate) * acceptance + regime.flip_rate
    annotators = panel()
    chosen = np.sort(rng.choice(len(annotators), size=n_votes, replace=False))
    accepts = rng.random(n_votes) < vote_shares[chosen]
    votes = tuple(
        Annotation(annotators[index].id, "acceptable" if accepted else "unacceptable")
        for index, accepted in zip(chosen, accepts, strict=True)
    )
    truth = Truth(item.id, float(acceptance.mean()), float(vote_shares.mean()))
    return msgspec.structs.replace(item, annotations=votes), truth


def _message(item: Item) -> str:
    assert not isinstance(item.prompt, str), "the demo's prompts are chats"
    return next(turn.content for turn in item.prompt if turn.role == "user")


if __name__ == "__main__":
    main()
