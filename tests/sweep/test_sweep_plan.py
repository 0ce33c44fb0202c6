"""What a sweep file says: its points, seeds and what they are laid over; nothing runs before all of it is checked."""

from pathlib import Path

import pytest

from accord.errors import ConfigError
from accord.sweep.plan import SweepPlan, is_sweep, point_settings, read_sweep

BASE = """\
source: items.jsonl
prompts: prompts.jsonl
seed: 7
prepare: {scheme: acceptable}
fit: {epochs: 3, objective: votes}
generate: {num_candidates: 6, max_new_tokens: 9}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "configs").mkdir()
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path / "configs"


def plan_of(folder: Path, text: str, *, base: str = "base: ../base.yaml\n", scale: str | None = None) -> SweepPlan:
    path = folder / "sweep.yaml"
    path.write_text(base + text)
    return read_sweep(path, scale=scale)


def test_a_grid_is_every_combination_and_all_else_stays(folder: Path) -> None:
    """2 × 2 points, the last key fastest; the fit section keeps its epochs, generate its length."""
    plan = plan_of(
        folder, "vary: {fit.objective: [votes, soft_kl], generate.num-candidates: [5, 10]}\nseeds: [0, 13]\n"
    )
    assert [point.name for point in plan.points] == [
        "objective=votes, num-candidates=5",
        "objective=votes, num-candidates=10",
        "objective=soft_kl, num-candidates=5",
        "objective=soft_kl, num-candidates=10",
    ]
    assert plan.base is not None
    found = point_settings(plan, plan.base)
    assert [(s.fit.objective, s.generate.num_candidates) for s in found] == [
        ("votes", 5), ("votes", 10), ("soft_kl", 5), ("soft_kl", 10),
    ]  # fmt: skip
    assert {(s.fit.epochs, s.generate.max_new_tokens, s.systems) for s in found} == {(3.0, 9, ("base", "calibrated"))}
    assert (plan.seeds, plan.data_seed) == ((0, 13), 7)
    assert {point.system for point in plan.points} == {"calibrated"}


def test_texts_of_one_key_are_names_by_themselves(folder: Path) -> None:
    plan = plan_of(folder, "vary: {fit.objective: [votes, soft_kl]}\n")
    assert [(p.name, p.values) for p in plan.points] == [
        ("votes", {"fit.objective": "votes"}),
        ("soft_kl", {"fit.objective": "soft_kl"}),
    ]


def test_named_points_and_keys_laid_over_the_base(folder: Path) -> None:
    text = """\
seed: 4
fit: {epochs: 5}
prompts: other.jsonl
vary:
- {name: majority vote, fit.objective: majority}
- {fit.objective: dpm_rq, fit.normaliser: "chunk:8", fit.micro_batch_size: 16}
- {name: references only, calibrate.ranking_weight: 0}
"""
    plan = plan_of(folder, text)
    assert [p.name for p in plan.points] == [
        "majority vote",
        "objective=dpm_rq, normaliser=chunk:8, micro_batch_size=16",
        "references only",
    ]
    assert plan.base is not None
    found = point_settings(plan, plan.base)
    assert [s.fit.epochs for s in found] == [5.0] * 3
    assert [s.calibrate.ranking_weight for s in found] == [1.0, 1.0, 0.0]
    assert found[0].prompts == (folder / "other.jsonl").absolute()
    assert found[0].source.resolve() == folder.parent / "items.jsonl"
    assert (plan.seeds, plan.data_seed) == ((4,), 4)


def test_a_run_file_with_vary_is_its_own_base_and_scales_are_the_bases(folder: Path) -> None:
    scales = "scales: {tiny: {fit: {epochs: 1}}, small: {}}\n"
    plan = plan_of(folder, BASE + scales + "scale: tiny\nvary: {fit.objective: [votes]}\n", base="")
    assert plan.base is not None
    assert plan.base.fit.epochs == 1.0
    with pytest.raises(ConfigError, match=r"there is no scale 'big'"):
        read_sweep(folder / "sweep.yaml", scale="big")
    small = read_sweep(folder / "sweep.yaml", scale="small")
    assert small.base is not None
    assert small.base.fit.epochs == 3.0
    assert small.data_seed == 7


def test_a_file_without_vary_is_no_sweep(folder: Path) -> None:
    assert not is_sweep(folder.parent / "base.yaml")
    plan_of(folder, "vary: {fit.objective: [votes]}\n")
    assert is_sweep(folder / "sweep.yaml")


def test_keys_with_one_last_part_are_named_in_full(folder: Path) -> None:
    plan = plan_of(folder, "vary: {fit.epochs: [1], calibrate.epochs: [2]}\n")
    assert [p.name for p in plan.points] == ["fit.epochs=1, calibrate.epochs=2"]


def test_the_demo_is_a_base_without_scales(folder: Path) -> None:
    plan = plan_of(folder, "vary: {generate.num_candidates: [2]}\n", base="base: demo\n")
    assert plan.base is None
    with pytest.raises(ConfigError, match="scale is 'tiny', but the demo has none"):
        read_sweep(folder / "sweep.yaml", scale="tiny")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vary: {}\n", r"vary is \{\}\. Expected settings with lists of values"),
        ("vary: 5\n", r"vary is 5\."),
        ("vary: {fit.epochs: 5}\n", r"vary\.fit\.epochs is 5\. Expected a list of values"),
        ("vary: {fit.epochs: []}\n", r"vary\.fit\.epochs is \[\]"),
        ("vary: {seed: [1, 2]}\n", r'vary has "seed"\. Expected SECTION\.KEY'),
        ("vary: {fitt.epochs: [1]}\n", r'vary: unknown key "fitt"\. Did you mean "fit"\?'),
        ("vary: {fit.epoch: [1]}\n", r'epoch=1: fit: unknown key "epoch"\. Did you mean "epochs"\?'),
        ("vary: {fit.epochs: [1, much]}\n", r"epochs=much: fit: epochs is 'much'"),
        ("vary: {fit.dropout: [0.1, 1.5]}\n", r"dropout=1\.5: dropout is 1\.5\. Expected a number from 0 to below 1"),
        ("vary: [fit.epochs]\n", r"a point of vary is 'fit\.epochs'"),
        ("vary: [{name: base, fit.epochs: 1}]\n", r'a point of vary is called "base"'),
        ("vary: [{name: a - b, fit.epochs: 1}]\n", r'called "a - b"'),
        ("vary: {fit.epochs: [1, 1]}\n", r'called "epochs=1"\. Expected names that differ'),
        ("vary: {fit.epochs: [1]}\nseeds: [0, 0]\n", r"seeds is \[0, 0\]\. Expected a list of different whole numbers"),
        ("vary: {fit.epochs: [1]}\nseeds: 3\n", r"seeds is 3"),
        ("vary: {fit.epochs: [1]}\nsystem: best\n", r"system is 'best'\. Expected one of base, best_of_k"),
        ("vary: {fit.epochs: [1]}\nfitt: {epochs: 2}\n", r'unknown key "fitt"'),
        ("vary: {fit.epochs: [1]}\nfit: 5\n", r"fit is 5\. Expected settings"),
        ("vary: {fit.epochs: [1]}\nseed: x\n", r"seed is 'x'\. Expected a whole number"),
        ("vary: {fit.epochs: [1]}\nscale: [a]\n", r"scale is \['a'\]\. Expected the name of one of the base's scales"),
        ("vary: {5: [1]}\n", r'vary has "5"\. Expected SECTION\.KEY'),
        ("vary: [{}]\n", r'a point of vary is called ""'),
        ("vary: {fit.epochs: [1]}\nsecond_opinion: true\n", r'unknown key "second_opinion"'),
        ("vary: {fit.epochs: [1]}\nhuman_replies: often\n", r"human_replies is 'often'"),
        (
            "vary: {generate.model: [a]}\n",
            r"sweep\.yaml: a: generate\.model, calibrate\.model and decode\.model differ",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(folder: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_of(folder, text)


def test_a_sweep_of_a_sweep_is_refused(folder: Path) -> None:
    (folder / "inner.yaml").write_text("base: ../base.yaml\nvary: {fit.epochs: [1]}\n")
    with pytest.raises(ConfigError, match=r"base is inner\.yaml, a sweep itself\. Expected the file of one run"):
        plan_of(folder, "vary: {fit.epochs: [2]}\n", base="base: inner.yaml\n")


def test_too_many_points_are_refused(folder: Path) -> None:
    many = ", ".join(map(str, range(1, 12)))
    with pytest.raises(ConfigError, match="vary makes 121 points"):
        plan_of(folder, f"vary: {{fit.epochs: [{many}], calibrate.epochs: [{many}]}}\n")
