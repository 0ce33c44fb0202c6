"""Paper files: what they say, and what is refused before anything runs."""

from pathlib import Path

import pytest

from accord.errors import ConfigError
from accord.pipeline import check_pipeline, read_pipeline
from accord.sweep.paper_plan import PaperPlan, is_paper, read_paper

RUN = """\
source: items.jsonl
prompts: prompts.jsonl
seed: 3
fit: {epochs: 5}
scales:
  tiny: {generate: {num_candidates: 2}}
  full: {}
"""
PAPER = """\
layout: table3
rows:
- {name: soft, fit.objective: soft_mse}
- {name: control, system: shuffled}
decodings:
  Beam: {method: beam, num_beams: 3}
  Greedy: {method: greedy}
compare: [soft - control]
seeds: [0, 1]
decode: {max_new_tokens: 7}
scales:
  tiny:
    generators:
    - {name: A, base: run.yaml, published: T5 (Small)}
    - {name: B, base: run.yaml, rows: [soft], seeds: [5], decode: {max_new_tokens: 9}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run.yaml").write_text(RUN)
    return tmp_path


def plan_of(folder: Path, text: str, *, scale: str = "tiny", seed: int | None = None) -> PaperPlan:
    path = folder / "table.yaml"
    path.write_text(text)
    assert is_paper(path)
    return read_paper(path, scale=scale, seed=seed)


def test_every_row_is_made_under_every_decoding(folder: Path) -> None:
    first, second = plan_of(folder, PAPER).generators
    assert [(row.point, row.decoding, row.row) for row in first.rows] == [
        ("Beam · soft", "Beam", "soft"),
        ("Beam · control", "Beam", "control"),
        ("Greedy · soft", "Greedy", "soft"),
        ("Greedy · control", "Greedy", "control"),
    ]
    assert [(s.fit.objective, s.decode.method, s.systems) for s in first.settings] == [
        ("soft_mse", "beam", ("base", "calibrated")),
        ("votes", "beam", ("base", "shuffled")),
        ("soft_mse", "greedy", ("base", "calibrated")),
        ("votes", "greedy", ("base", "shuffled")),
    ]
    assert {s.generate.num_candidates for s in first.settings} == {2}  # the base file at the same scale
    assert [row.point for row in second.rows] == ["Beam · soft", "Greedy · soft"]
    assert {s.decode.max_new_tokens for s in second.settings} == {9}  # a generator's own word wins
    assert (first.sweep.seeds, second.sweep.seeds, first.sweep.data_seed) == ((0, 1), (5,), 3)
    assert (first.published, second.published) == ("T5 (Small)", "")


def test_flags_of_a_run_are_laid_over_it_too(folder: Path) -> None:
    first, _ = plan_of(folder, "watch_acceptance: true\n" + PAPER).generators
    assert {settings.watch_acceptance for settings in first.settings} == {True}
    with pytest.raises(ConfigError, match=r"watch_acceptance is 'often'\. Expected true or false"):
        plan_of(folder, "watch_acceptance: often\n" + PAPER)


def test_a_seed_of_the_command_line_replaces_all(folder: Path) -> None:
    assert {generator.sweep.seeds for generator in plan_of(folder, PAPER, seed=9).generators} == {(9,)}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("layout: table3", "layout: table9", r"layout is 'table9'\. Expected one of table1, table2"),
        ("name: soft, fit", "name: Base, fit", r"a row is called 'Base'\. Expected names that differ, not \"Base\""),
        ("name: control", "name: soft", r"a row is called 'soft'\. Expected names that differ"),
        ("rows: [soft]", "rows: [sotf]", r'B: rows: unknown key "sotf"\. Did you mean "soft"'),
        ("soft - control", "soft - controll", r'compare: unknown key "controll"\. Did you mean "control"'),
        ("name: B", "name: A", r"generators are called A, A\. Expected names that differ"),
        ("name: A, base: run.yaml", "name: A", r"A: base is None\. Expected the file of a run"),
        ("name: A, base: run.yaml", "base: run.yaml", r"Expected at least a name and a base file"),
        ("method: greedy", "metod: greedy", r'unknown key "metod"\. Did you mean "method"'),
        ("system: shuffled", "system: shufled", r"system is 'shufled'\. Expected one of base, best_of_k"),
        ("seeds: [0, 1]", "seeds: [0, 0]", r"Expected a list of different whole numbers"),
        ("compare:", "ratings: x.jsonl\ncompare:", r"ratings are of a rating table, and table3 is none"),
        ("compare:", "n_rated: 0\ncompare:", r"n_rated is 0\. Expected a whole number from 1 on"),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, old: str, new: str, message: str) -> None:
    assert old in PAPER
    with pytest.raises(ConfigError, match=message):
        plan_of(folder, PAPER.replace(old, new))


def test_a_run_file_stands_on_another_at_the_same_scale(folder: Path) -> None:
    """Paths of the base are relative to the base; its scale lies under all that the file itself says."""
    (folder / "sub").mkdir()
    path = folder / "sub" / "own.yaml"
    path.write_text("base: ../run.yaml\nfit: {dropout: 0.1}\nscales:\n  tiny: {decode: {samples: 4}}\n")
    settings, seed = read_pipeline(path, scale="tiny")
    assert (settings.fit.epochs, settings.fit.dropout, settings.decode.samples) == (5.0, 0.1, 4)
    assert settings.generate.num_candidates == 2
    assert settings.source.resolve() == (folder / "items.jsonl").resolve()
    assert seed == 3


def test_files_that_stand_on_each_other_are_refused(folder: Path) -> None:
    (folder / "a.yaml").write_text("base: b.yaml\n")
    (folder / "b.yaml").write_text("base: a.yaml\n")
    with pytest.raises(ConfigError, match=r"a\.yaml: base leads back to the file itself"):
        read_pipeline(folder / "a.yaml")


def test_tuning_makes_the_generator_of_every_other_section(folder: Path) -> None:
    path = folder / "tuned.yaml"
    path.write_text("base: run.yaml\ntune: {model: gpt2}\nscales: {tiny: {}}\n")
    settings, _ = read_pipeline(path, scale="tiny")
    with pytest.raises(ConfigError, match=r"tune\.model is gpt2 and the generator builtin:smollm2"):
        check_pipeline(settings)
    path.write_text("base: run.yaml\nprepare_tune: {source: esconv}\nscales: {tiny: {}}\n")
    settings, _ = read_pipeline(path, scale="tiny")
    with pytest.raises(ConfigError, match="prepare_tune is how prompts are read for tune, which is missing"):
        check_pipeline(settings)
