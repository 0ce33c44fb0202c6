"""The acceptance of the group that accepts least: one model for each group, end to end."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import accord
from accord.cli.main import main
from accord.data.prepare import prepare_stage
from accord.data.settings import PrepareSettings
from accord.errors import ConfigError
from accord.json_files import read_jsonl, write_jsonl
from accord.preference.fit import fit_stage
from accord.preference.model import PreferenceConfig, PreferenceModel, save_preference_model
from accord.preference.predict import load_acceptance_model
from accord.preference.settings import FitSettings
from accord.records import CandidateSet
from accord.scoring.score import score_pairs, score_stage
from accord.scoring.settings import ScoreSettings
from accord.scoring.utility import WorstGroupModel, load_judge
from toys import tiny_bert, toy_items, word_tokenizer, write_rows

ROWS = [
    CandidateSet("1", "i feel sad .", ("sorry to hear that .", "stop !"), (-3.0, -2.0), (5, 2), (-0.6, -1.0)),
    CandidateSet("2", "my job .", ("tell me more ?",), (-1.0,), (4,), (-0.25,)),
]
PAIRS = [(row.prompt, text) for row in ROWS for text in row.completions]
WORST = ScoreSettings(utility="worst_group")


def save_model(folder: Path, *, seed: int, **options: Any) -> Path:
    config = PreferenceConfig(id2label={0: "unacceptable", 1: "acceptable"}, n_views=3, max_input_tokens=64, **options)
    model = PreferenceModel.from_encoder(tiny_bert(), config, seed=seed)
    save_preference_model(model, word_tokenizer(pair_template=True), folder, card="")
    return folder


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("groups")
    return [save_model(folder / str(seed), seed=seed, has_concentration=seed == 3) for seed in (1, 2, 3)]


def test_the_score_is_the_lowest_acceptance(tmp_path: Path, groups: list[Path]) -> None:
    write_jsonl(tmp_path / "candidates.jsonl", ROWS)
    folder = score_stage(tmp_path / "candidates.jsonl", groups, output_dir=tmp_path / "scored", settings=WORST, seed=0)
    scores = [score for row in read_jsonl(folder / "candidates.jsonl", CandidateSet) for score in row.scores or ()]
    each = [score_pairs(load_acceptance_model(group), PAIRS, utility="acceptance").values for group in groups]
    np.testing.assert_allclose(scores, np.min(each, axis=0), rtol=1e-6)
    assert len(set(np.argmin(each, axis=0))) > 1 or len({tuple(np.argsort(values)) for values in each}) > 1


def test_the_order_of_the_groups_changes_no_score(groups: list[Path]) -> None:
    one, other = (load_judge(order, utility="worst_group") for order in (groups, groups[::-1]))
    found = [score_pairs(judge, PAIRS, utility="worst_group").values for judge in (one, other)]
    np.testing.assert_array_equal(found[0], found[1])
    assert not one.has_concentration


def test_a_text_is_counted_as_cut_once(groups: list[Path]) -> None:
    long = [("i feel sad . " * 40, "sorry to hear that .")]
    assert load_judge(groups, utility="worst_group").acceptance(long).n_prompts_cut == 1


def test_by_the_command_line(tmp_path: Path, groups: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "candidates.jsonl", tmp_path / "scored"
    write_jsonl(source, ROWS)
    two = f"--preference {groups[0]} --preference {groups[1]}"
    assert main(f"score {source} {two} --utility worst_group --output-dir {out}".split()) == 0
    assert "2 prompts with scored candidates" in capsys.readouterr().out
    assert main(f"score {source} {two} --output-dir {tmp_path / 'no'}".split()) == 2
    assert capsys.readouterr().err == (
        "accord: utility 'acceptance' scores with one preference model, and got 2. Pass one, or use --utility "
        "worst_group, the acceptance of the group that accepts least.\n"
    )
    assert main(f"score {source} --preference {groups[0]} --utility worst_group --output-dir {out}2".split()) == 2
    assert capsys.readouterr().err.startswith(
        "accord: utility 'worst_group' needs the preference models of several groups of annotators, and got 1 model. "
        "Fit one for each (accord fit ITEMS --traits country=uk, ...) and pass --preference once for each."
    )
    assert not (tmp_path / "no").exists()
    assert not Path(f"{out}2").exists()


def test_a_config_file_names_one_model_or_several(tmp_path: Path, groups: list[Path]) -> None:
    write_jsonl(tmp_path / "candidates.jsonl", ROWS)
    for name, keys in {
        "one": {"preference": str(groups[0])},
        "several": {"preference": [str(group) for group in groups], "utility": "worst_group"},
    }.items():
        (tmp_path / "score.yaml").write_text(json.dumps(keys))
        command = f"score {tmp_path / 'candidates.jsonl'} --config {tmp_path / 'score.yaml'} --output-dir"
        assert main([*command.split(), str(tmp_path / name)]) == 0


def test_a_single_model_is_no_worst_group(groups: list[Path]) -> None:
    with pytest.raises(ConfigError, match="and got the model of one"):
        score_pairs(load_acceptance_model(groups[0]), PAIRS, utility="worst_group")
    with pytest.raises(ConfigError, match="needs the preference models of several groups"):
        accord.as_trl_reward(groups[0], utility="worst_group")
    judge = WorstGroupModel((load_acceptance_model(groups[2]), load_acceptance_model(groups[2])))
    with pytest.raises(ConfigError, match="--objective beta_binomial"):
        score_pairs(judge, PAIRS, utility="consensus")


def test_it_rewards_too(groups: list[Path]) -> None:
    reward = accord.as_trl_reward(groups, utility="worst_group")
    expected = score_pairs(load_judge(groups, utility="worst_group"), PAIRS, utility="worst_group").values
    np.testing.assert_array_equal(reward([prompt for prompt, _ in PAIRS], [text for _, text in PAIRS]), expected)


def test_a_model_of_one_group_is_fitted_by_traits(tmp_path: Path) -> None:
    """`--traits team=first` is `--annotators "a*"`: the toy's annotators are a1 to a3 and b1 to b3."""
    source = write_rows(tmp_path / "items.jsonl", toy_items())
    people = "annotator,team\n" + "".join(f"a{k},first\nb{k},second\n" for k in (1, 2, 3))
    (tmp_path / "people.csv").write_text(people)
    settings = PrepareSettings(n_resamples=20, traits=str(tmp_path / "people.csv"))
    items = prepare_stage(source, output_dir=tmp_path / "items", settings=settings, seed=0)
    lexical = FitSettings(model="lexical:tfidf", n_folds=2, n_resamples=20)
    found = {}
    for name, who in {
        "traits": {"traits": ("team=first",)},
        "names": {"annotators": ("a*",)},
        "everybody": {},
    }.items():
        fit = FitSettings(**{**vars(lexical), **who})
        folder = fit_stage(items, output_dir=tmp_path / name, settings=fit, seed=0)
        found[name] = (folder / "predictions.jsonl").read_text()
    assert found["traits"] == found["names"] != found["everybody"]
    both = FitSettings(**{**vars(lexical), "traits": ("team=first",), "annotators": ("a*",)})
    with pytest.raises(ConfigError, match="annotators and traits both say who votes"):
        fit_stage(items, output_dir=tmp_path / "both", settings=both, seed=0)


def test_traits_beside_an_items_file_are_an_input(tmp_path: Path) -> None:
    """Changed traits are other data: a finished folder is not reused for them."""
    source = write_rows(tmp_path / "items.jsonl", toy_items())
    items = prepare_stage(source, output_dir=tmp_path / "p", settings=PrepareSettings(n_resamples=20), seed=0)
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in ("items.jsonl", "scheme.json"):
        (plain / name).write_bytes((items / name).read_bytes())
    fit = FitSettings(model="lexical:tfidf", n_folds=2, n_resamples=20, traits=("team=first",))
    write_rows(plain / "annotators.jsonl", [{"annotator": f"a{k}", "traits": {"team": "first"}} for k in (1, 2, 3)])
    fit_stage(plain / "items.jsonl", output_dir=tmp_path / "fit", settings=fit, seed=0)
    write_rows(plain / "annotators.jsonl", [{"annotator": f"b{k}", "traits": {"team": "first"}} for k in (1, 2, 3)])
    with pytest.raises(accord.ArtifactError, match=r"these differ: inputs.traits_file \(content\)"):
        fit_stage(plain / "items.jsonl", output_dir=tmp_path / "fit", settings=fit, seed=0)
