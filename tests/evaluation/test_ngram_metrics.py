"""Every n-gram metric equals the library it is named after, on texts of ours and on what hypothesis makes up."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from nltk.translate.meteor_score import meteor_score

from accord.evaluation.metrics.all import METRICS
from accord.evaluation.metrics.lcs import lcs_length, token_positions
from accord.evaluation.metrics.meteor import align, meteor_scores
from accord.evaluation.metrics.metric import MetricInputs
from accord.evaluation.metrics.texts import Texts
from accord.evaluation.metrics.tokens import TOKENIZERS, tokenize
from accord.evaluation.metrics.wordnet import SYSTEM_FOLDER, WordNet, load_wordnet
from metric_texts import CORPORA, ODD, SENTENCES, Corpus, corpus_value, output, texts_of, toy_corpus, values_of

pytest.importorskip("pycocoevalcap.bleu.bleu_scorer", reason="pycocoevalcap is not installed")
from metric_oracles import ORACLES, check, check_corpus_bleus, close

TOY = toy_corpus()
SYNONYMS = [("the hard job was big", ("a difficult task is large", "large difficult work")), ("", ("big",))]
WORDNET = os.environ.get("ACCORD_WORDNET")


@pytest.fixture(autouse=True)
def without_wordnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_WORDNET", "none")
    load_wordnet.cache_clear()


@pytest.mark.parametrize("name", ORACLES)
def test_equals_the_library_on_texts_of_ours(name: str) -> None:
    check(name, TOY)
    check(name, [(odd, refs) for odd in ODD for _, refs in TOY[:2]] + [(text, tuple(ODD)) for text, _ in TOY])


@pytest.mark.parametrize("name", ORACLES)
@settings(max_examples=30, deadline=None)
@given(corpus=CORPORA)
def test_equals_the_library_on_any_text(name: str, corpus: Corpus) -> None:
    check(name, corpus)


@settings(max_examples=60, deadline=None)
@given(corpus=CORPORA)
def test_corpus_bleu_equals_pycocoevalcap_and_sacrebleu(corpus: Corpus) -> None:
    for given_corpus in (TOY, corpus):
        check_corpus_bleus(given_corpus)


@settings(max_examples=150, deadline=None)
@given(text=SENTENCES)
def test_tokens_equal_the_libraries(text: str) -> None:
    from rouge_score.tokenizers import DefaultTokenizer
    from sacrebleu.metrics import BLEU

    assert tokenize(text, tokenizer="13a") == BLEU()._preprocess_segment(text).split()
    assert tokenize(text, tokenizer="rouge-stem") == DefaultTokenizer(use_stemmer=True).tokenize(text)
    assert tokenize(text, tokenizer="whitespace") == text.split()


def test_treebank_tokens_by_hand() -> None:
    """NLTK's own tokenizer splits the last period of a sentence only; word by word, each word-final one."""
    assert tokenize("I can't. You don't (ever)!", tokenizer="treebank-lower") == [
        "i", "ca", "n't", ".", "you", "do", "n't", "(", "ever", ")", "!",
    ]  # fmt: skip


# -- metrics of our own definition, by hand ------------------------------------------------------------------------


def test_cider_by_hand() -> None:
    """Two prompts with one reference each, N = 2, idf = log 2 for what stands in one prompt and 0 in both.

    Text "a b" against "a b c", "b" is in both prompts: unigrams a (log 2), b (0), c (log 2): cosine
    1·1 / (1·√2); bigrams "a b", "b c" (log 2 each): 1 / √2; orders 3 and 4 share nothing: 10 · (2/√2) / 4.
    """
    corpus = [("a b", ("a b c",)), ("z", ("b",))]
    value, by_text = values_of("cider", corpus)
    assert by_text == pytest.approx([10 * np.sqrt(2) / 4, 0.0])
    assert value == pytest.approx(5 * np.sqrt(2) / 4)


def test_cider_d_by_hand() -> None:
    """Text "a a a" against "a x" (idf log 2): clipped 1 of 3 a's: 1·1 / (3·√2); lengths in bigrams 2 and 1."""
    _, by_text = values_of("cider_d", [("a a a", ("a x",)), ("z", ("q",))])
    assert by_text[0] == pytest.approx(10 / 4 / (3 * np.sqrt(2)) * np.exp(-1 / 72))


def test_cider_weighs_by_the_references_given() -> None:
    """With idf from the prompts given, not only those measured; a word in every prompt is worth nothing."""
    corpus = [("a b", ("a b",))]
    assert values_of("cider_d", corpus, references=[("a b",), ("c",)])[0] == pytest.approx(5.0)  # orders 1 and 2 of 4
    assert values_of("cider_d", corpus, references=[("a b",), ("a b",)])[0] == 0.0


def test_samples_of_one_prompt_count_once_in_idf() -> None:
    cells = [[output("a b", ("a b",), sample=k) for k in range(3)], [output("z", ("c",), id="q")]]
    metric = METRICS["cider_d"](MetricInputs())
    assert metric.per_prompt(Texts(cells))[:, 0] == pytest.approx([5.0, 0.0])


def test_lcs_by_hand() -> None:
    """A B C B D A B and B D C A B A: 4 (Cormen et al., ch. 15.4)."""
    first, second = [1, 2, 3, 2, 4, 1, 2], [2, 4, 3, 1, 2, 1]
    assert lcs_length(token_positions(first), len(first), second) == 4
    assert lcs_length(token_positions([]), 0, second) == lcs_length(token_positions(first), 7, []) == 0


def test_meteor_aligns_words_then_stems_then_synonyms() -> None:
    """ "cats hard run" with "difficult cat run": run, then cat(s) by stem, then hard by synonym; 3 chunks of 3."""
    stems = ["cat", "hard", "run", "difficult", "cat"]
    synonyms = {"hard": frozenset({"hard", "difficult"})}
    found = align([0, 1, 2], [3, 4, 2], stems, lambda word: synonyms.get(word, frozenset({word})))
    assert found == [(0, 1), (1, 0), (2, 2)]
    assert align([0, 1, 2], [3, 4, 2], stems, None) == [(0, 1), (2, 2)]


def nltk_reader(folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """NLTK's reader of a WordNet folder; it wants a list of lexicographer files and a place among its own data."""
    import nltk
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    copy = data / "corpora" / "wordnet"
    shutil.copytree(folder, copy)
    (copy / "lexnames").write_text("".join(f"{n:02}\tfile{n}\t1\n" for n in range(45)))
    (copy / "index.sense").write_text("")
    monkeypatch.setattr(nltk.data, "path", [str(data), *nltk.data.path])
    with pytest.warns(UserWarning, match="multilingual functions are not available"):
        return WordNetCorpusReader(str(copy), None)


def test_meteor_with_wordnet_equals_nltk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = Path(WORDNET or SYSTEM_FOLDER)
    if not (folder / "data.noun").is_file():
        pytest.skip("WordNet is not installed: neither ACCORD_WORDNET nor the system's wordnet-base")
    ours, reader = WordNet(folder), nltk_reader(folder, tmp_path, monkeypatch)
    assert ours.version == reader.get_version()
    words = "hard feet ran better leaves Rome was geese axes İ 's x 😀 difficult happily wolves men glasses".split()
    for word in [*words, "", " ", "\x00", "a_b", "(a)"]:
        lemmas = {lemma.name() for synset in reader.synsets(word) for lemma in synset.lemmas()}
        assert ours.synonyms(word) == {lemma for lemma in lemmas if "_" not in lemma} | {word}
    corpus = [*TOY, *SYNONYMS]
    scores = meteor_scores(texts_of(corpus), tokenizer="whitespace", synonyms=ours.synonyms)
    expected = [meteor_score([ref.split() for ref in refs], text.split(), wordnet=reader) for text, refs in corpus]
    assert scores == close(expected)
    assert (scores > meteor_scores(texts_of(corpus), tokenizer="whitespace", synonyms=None)).any()


def test_a_folder_without_wordnet_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    from accord.errors import ConfigError

    monkeypatch.setenv("ACCORD_WORDNET", str(tmp_path))
    with pytest.raises(ConfigError, match=r"holds no data\.noun"):
        METRICS["meteor"](MetricInputs())


# -- what must never happen ----------------------------------------------------------------------------------------

NGRAM_METRICS = ["bleu", *(f"bleu_{n}" for n in (1, 2, 3, 4)), "cider", *ORACLES]


@pytest.mark.parametrize("name", NGRAM_METRICS)
@pytest.mark.parametrize("tokenizer", ["whitespace", "13a-lower", "treebank-lower"])
def test_an_empty_text_scores_zero_and_only_a_missing_reference_is_undefined(name: str, tokenizer: str) -> None:
    corpus = [("", ("a b c d", "e")), (" \n", ("",)), ("a b c d e", ("", " ")), ("a b c d e", ())]
    metric = METRICS[name](MetricInputs(tokenize=tokenizer, references=[refs for _, refs in corpus]))
    statistics = metric.per_prompt(texts_of(corpus))
    assert np.isnan(statistics[3]).all()
    values = metric.combine(statistics[:3])
    assert values == pytest.approx([0.0, 0.0, 0.0], abs=1e-4)  # pycocoevalcap's 1e-15 / 1e-9 under a fourth root
    assert values[0] == 0.0
    assert not np.isnan(corpus_value(metric, statistics[:3]))


@pytest.mark.parametrize("name", NGRAM_METRICS)
def test_long_and_odd_texts_pass(name: str) -> None:
    long = " ".join(f"w{n % 997}" for n in range(10_000))
    corpus = [(long, (long, "w1 w2 w3")), *((odd, (odd, long)) for odd in ODD)]
    value, by_text = values_of(name, corpus)
    assert np.isfinite([value, *by_text]).all()


@pytest.mark.parametrize("name", NGRAM_METRICS)
def test_chunks_do_not_change_a_number(name: str) -> None:
    """Each text alone, with others, repeated, and with the references in another order."""
    references = [refs for _, refs in TOY]
    metric = METRICS[name](MetricInputs(references=references))
    together = metric.per_prompt(texts_of([*TOY, TOY[0]]))
    alone = np.concatenate([metric.per_prompt(texts_of([row])) for row in [*TOY, TOY[0]]])
    turned = metric.per_prompt(texts_of([(text, refs[::-1]) for text, refs in [*TOY, TOY[0]]]))
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    np.testing.assert_allclose(together, turned, rtol=1e-12)


def test_every_tokenizer_of_the_settings_exists() -> None:
    from typing import get_args, get_type_hints

    from accord.evaluation.settings import EvaluateSettings

    choices: Sequence[str] = get_args(get_type_hints(EvaluateSettings)["tokenize"])
    assert set(choices) <= set(TOKENIZERS)
