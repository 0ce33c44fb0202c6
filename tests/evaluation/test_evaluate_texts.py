"""Metrics of texts in memory; chunks and odd texts change nothing and break nothing."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings

from accord.errors import ConfigError, DataError
from accord.evaluation import evaluate as evaluate_module
from accord.evaluation.evaluate import evaluate_stage, evaluate_texts, measure_metrics, metric_inputs
from accord.evaluation.metrics.all import METRICS, PAIRED
from accord.evaluation.metrics.texts import Texts
from accord.evaluation.outputs import build_output_table
from accord.evaluation.settings import EvaluateSettings
from accord.json_files import read_json
from metric_texts import CORPORA, ODD, Corpus, output, toy_corpus
from toy_systems import system_writer

MODELS = {"acceptance", "bertscore_p", "bertscore_r", "bertscore_f1", "meteor15"}
VECTORS = {"embedding_average", "embedding_extrema", "embedding_greedy"}
OFFLINE = tuple(name for name in METRICS if name not in MODELS | VECTORS | {"perplexity"})  # not of texts


def scores(corpus: Corpus, names: tuple[str, ...] = OFFLINE) -> dict[str, evaluate_module.TextScores]:
    completions, references = zip(*corpus, strict=True)
    return evaluate_texts(completions, references, settings=EvaluateSettings(metrics=names))


def test_every_metric_by_name() -> None:
    corpus = toy_corpus()
    found = scores(corpus)
    assert tuple(found) == OFFLINE
    assert found["sentence_bleu"].per_text.tolist() == pytest.approx(
        [sacrebleu.sentence_bleu(text, list(references)).score for text, references in corpus]
    )
    assert found["sentence_bleu"].value == pytest.approx(found["sentence_bleu"].per_text.mean())
    assert found["rouge_1"].signature.startswith("rouge-score|rouge1|f1")
    assert np.isnan(found["self_bleu"].value)  # one sample per prompt has no other to be like


def test_a_text_without_references_is_left_out() -> None:
    corpus = toy_corpus()
    with_one_more = scores([*corpus, ("some text", ())])
    for name, alone in scores(corpus).items():
        if name.startswith(("length", "distinct", "repetition", "self_bleu")):
            continue
        assert np.isnan(with_one_more[name].per_text[-1]), name
        assert with_one_more[name].value == pytest.approx(alone.value, rel=1e-12), name


@settings(max_examples=40, deadline=None)
@given(corpus=CORPORA)
def test_any_text_gets_a_number(corpus: Corpus) -> None:
    """Finite where there is a reference, 0 for an empty text (bleu_n of a corpus of empty texts as well)."""
    found = scores([*corpus, ("", ("a b",)), *((odd, (odd,)) for odd in ODD)])
    for name, result in found.items():
        if name != "self_bleu":
            assert np.isfinite(result.per_text).all(), name
            assert result.per_text[len(corpus)] == 0.0, name


def test_repetition_by_hand() -> None:
    """ "a b c d" twice: five 4-grams, four of them different; three words have none and repeat none."""
    found = scores([("A b c d a b c d", ()), ("a b c", ()), ("", ())], ("repetition",))["repetition"]
    assert found.per_text == pytest.approx([0.2, 0.0, 0.0])


def test_self_bleu_by_hand() -> None:
    """Seed 0: "a b c d" against "a b c x" (both ways alike); seed 1 has one sample and says nothing."""
    expected = sacrebleu.sentence_bleu("a b c d", ["a b c x"]).score
    outputs = [output("a b c d"), output("a b c x", sample=1), output("e f", seed=1), output("a b c d", sample=2)]
    table = build_output_table([*outputs, output("x", id="q"), output("x", id="q", seed=1)])
    inputs = metric_inputs(table, EvaluateSettings())
    metric = METRICS["self_bleu"](inputs._replace(n_samples=2))
    statistics = metric.per_prompt(Texts(table.outputs["s"]))
    np.testing.assert_allclose(statistics, [[expected, 1.0], [np.nan, np.nan]])


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompt by prompt or all at once; systems stay apart."""
    rows = [
        output(text, references, id=str(n))
        for n, (text, references) in enumerate([*toy_corpus(), *((odd, ("a b", odd)) for odd in ODD)])
    ]
    others = [output(row.completion[::-1], row.references, id=row.id) for row in rows]
    table = build_output_table([*rows, *(msgspec.structs.replace(row, system="t") for row in others)])
    inputs = metric_inputs(table, EvaluateSettings())
    together = measure_metrics(table, OFFLINE, inputs)
    monkeypatch.setattr(evaluate_module, "CHARACTERS_PER_CHUNK", 1)
    for whole, parts in zip(together, measure_metrics(table, OFFLINE, inputs), strict=True):
        assert list(whole.statistics) == list(parts.statistics) == ["s", "t"]
        for system, found in whole.statistics.items():
            np.testing.assert_allclose(parts.statistics[system], found, rtol=1e-12, err_msg=whole.name)


def test_rarity_counts_a_prompts_references_once_whichever_system_has_them() -> None:
    """The human replies may be a system without references of its own."""
    rows = [output("a b", (), id="1"), output("c", (), id="2")]
    rows += [msgspec.structs.replace(row, system="t", references=("a b", "c")) for row in rows]
    table = build_output_table(rows[2:] + rows[:2])
    assert metric_inputs(table, EvaluateSettings()).references == [("a b", "c"), ("a b", "c")]


def test_the_words_are_a_choice(tmp_path: Path) -> None:
    """The signature says it, and the stage takes it."""
    outputs = [system_writer(tmp_path)("base")]
    settings_13a = EvaluateSettings(metrics=("bleu_1",), tokenize="13a-lower", n_resamples=20)
    folder = evaluate_stage(outputs, output_dir=tmp_path / "evaluation", settings=settings_13a, seed=0)
    assert "|tok:13a-lower|" in read_json(folder / "results.json")[0]["signature"]


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        scores(toy_corpus(), ("bleu", "blue"))
    assert str(refused.value) == f'Unknown metric "blue". Expected one of: {", ".join([*METRICS, *PAIRED])}.'
    with pytest.raises(ConfigError, match="compares two systems, found no comparison"):
        evaluate_texts(["a"], [["a"]], settings=EvaluateSettings(metrics=tuple(PAIRED), preference_model="x"))
    with pytest.raises(DataError, match="2 texts and 1 sets of references"):
        evaluate_texts(["a", "b"], [["a"]], settings=EvaluateSettings())
