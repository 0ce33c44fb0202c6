"""The difference in acceptance at equal length: by hand, and as a row of the comparisons."""

from pathlib import Path

import numpy as np
import pytest

from accord.errors import ConfigError
from accord.evaluation.evaluate import evaluate_stage
from accord.evaluation.measure import Measured, Resampling, compare_systems, difference_measurements, with_holm
from accord.evaluation.metrics.length_adjusted import NAME, half_intercept, length_adjusted_statistics, mirrored
from accord.evaluation.settings import EvaluateSettings
from accord.json_files import read_json, write_jsonl
from toy_systems import system_writer
from toys import tiny_bert, word_tokenizer

N = 200
HOW = Resampling(np.arange(N), n_resamples=200, n_randomisations=500, level=0.95, seed=0)


def difference(d: np.ndarray, gap: np.ndarray) -> float:
    return float(2 * half_intercept(length_adjusted_statistics(d, gap).sum(axis=0, keepdims=True))[0])


def test_by_hand() -> None:
    """Points (l, d) = (0, .1), (2, .3), (4, .5): the line .1 + .1·l; (0, 0), (1, .2), (2, .1): intercept .05."""
    assert difference(np.array([0.1, 0.3, 0.5]), np.array([0.0, 2.0, 4.0])) == pytest.approx(0.1)
    assert difference(np.array([0.0, 0.2, 0.1]), np.array([0.0, 1.0, 2.0])) == pytest.approx(0.05)


def test_equals_least_squares() -> None:
    rng = np.random.default_rng(5)
    gap = rng.integers(-5, 9, size=30).astype(float)
    d = 0.2 + 0.03 * gap + rng.normal(0, 0.1, size=30)
    assert difference(d, gap) == pytest.approx(np.polyfit(gap, d, 1)[1], abs=1e-12)


def test_edges() -> None:
    """All equally long: the mean; always 3 words longer: nobody can tell; a nan in either: left out."""
    assert difference(np.array([0.2, 0.4]), np.zeros(2)) == pytest.approx(0.3)
    assert np.isnan(difference(np.array([0.2, 0.4]), np.full(2, 3.0)))
    assert np.isnan(length_adjusted_statistics(np.array([np.nan, 0.1]), np.array([1.0, np.nan]))).any(axis=1).all()
    assert np.isnan(half_intercept(np.zeros((1, 5)))[0])


def test_the_other_order_changes_the_sign_alone() -> None:
    rng = np.random.default_rng(1)
    d, gap = rng.normal(size=20), rng.normal(size=20)
    turned = half_intercept(mirrored(length_adjusted_statistics(d, gap)).sum(axis=0, keepdims=True))
    assert 2 * turned[0] == pytest.approx(-difference(d, gap)) == pytest.approx(difference(-d, -gap))


def test_a_gain_that_is_only_length_disappears() -> None:
    """System a is longer by 0 to 8 words, and each word adds .05: plain difference sure, at equal length none."""
    rng = np.random.default_rng(2)
    lengths = {"a": 10.0 + np.arange(N) % 9, "b": np.full(N, 10.0)}
    accepted = {name: 0.05 * words + rng.normal(0, 0.02, N) for name, words in lengths.items()}

    def measured(name: str, values: dict[str, np.ndarray]) -> Measured:
        return Measured(name, name, {key: np.stack([row, np.ones(N)], axis=1) for key, row in values.items()})

    found = [measured("acceptance", accepted), measured("length", lengths), Measured(NAME, "", {})]
    rows = {row.name: row for row in compare_systems(found, [("a", "b")], how=HOW)}
    assert rows["acceptance"].p < 0.01
    assert rows["acceptance"].difference == pytest.approx(0.05 * (lengths["a"] - 10).mean(), abs=0.02)
    assert rows[NAME].p > 0.05
    assert rows[NAME].low < 0 < rows[NAME].high
    assert rows[NAME].difference == pytest.approx(
        np.polyfit(lengths["a"] - 10, accepted["a"] - accepted["b"], 1)[1], abs=1e-12
    )
    compared = list(rows.values())
    measurement = with_holm(difference_measurements(compared, found, how=HOW), compared)[-1]
    assert measurement.n == N
    assert "length difference|least squares|acceptance|length|paired" in measurement.signature
    assert "|test:bootstrap-1200|holm:3" in measurement.signature


def test_its_p_value_is_no_smaller_than_chance_allows() -> None:
    """Without any effect but length, one or two of ten p-values lie below .1 (with swapped systems four did)."""
    found = []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        gap = rng.integers(0, 9, size=60).astype(float)
        statistics = length_adjusted_statistics(0.05 * gap + rng.normal(0, 0.05, 60), gap)
        how = HOW._replace(clusters=np.arange(60), seed=seed)
        metric = Measured(NAME, "", {"a": statistics, "b": mirrored(statistics)}, half_intercept, "bootstrap")
        found.append(compare_systems([metric], [("a", "b")], how=how)[0].p)
    assert 0.04 < np.mean(np.array(found) < 0.1) < 0.2


def test_asked_for_by_name(tmp_path: Path) -> None:
    from accord.preference.model import PreferenceConfig, PreferenceModel

    config = PreferenceConfig(id2label={0: "no", 1: "yes"}, head_size=8, max_input_tokens=64)
    PreferenceModel.from_encoder(tiny_bert(), config, seed=3).save_pretrained(tmp_path / "model")
    word_tokenizer(pair_template=True).save_pretrained(tmp_path / "model")
    write = system_writer(tmp_path)
    outputs = [write("base"), write("tuned")]
    settings = EvaluateSettings(
        metrics=(NAME,), preference_model=str(tmp_path / "model"), compare=("tuned - base",),
        n_resamples=50, n_randomisations=50,
    )  # fmt: skip
    folder = evaluate_stage(outputs, output_dir=tmp_path / "evaluation", settings=settings, seed=0)
    assert [row["name"] for row in read_json(folder / "comparisons.json")] == ["acceptance", "length", NAME]
    assert set(read_json(folder / "results.json")[0]) >= {"name", "value", "signature"}


def test_without_a_comparison_it_is_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "outputs.jsonl", [])
    outputs = [system_writer(tmp_path)("base")]
    settings = EvaluateSettings(metrics=(NAME,), preference_model=str(tmp_path))
    with pytest.raises(ConfigError, match=r"compares two systems, found no comparison\. Give --compare or --baseline"):
        evaluate_stage(outputs, output_dir=tmp_path / "evaluation", settings=settings, seed=0)
