"""The libraries that define the n-gram metrics, each as (value of the corpus, values of the texts), and the comparison.

Import it after `pytest.importorskip("pycocoevalcap.bleu.bleu_scorer")`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sacrebleu
from nltk.translate.meteor_score import meteor_score
from pycocoevalcap.bleu import bleu_scorer
from pycocoevalcap.cider.cider_scorer import CiderScorer
from pycocoevalcap.rouge.rouge import Rouge
from rouge_score.rouge_scorer import RougeScorer

from metric_texts import Corpus, values_of


class NoWordNet:
    """NLTK's METEOR without synonyms."""

    def synsets(self, _: str) -> list[Any]:
        return []


def close(expected: Any) -> Any:
    return pytest.approx(expected, rel=1e-12, abs=1e-12)


def caption_bleu(corpus: Corpus) -> tuple[list[float], np.ndarray]:
    scorer = bleu_scorer.BleuScorer(n=4)
    for text, references in corpus:
        scorer += (text, list(references))
    values, by_text = scorer.compute_score(option="closest")
    return values, np.array(by_text)


def caption_rouge(corpus: Corpus) -> tuple[float, np.ndarray]:
    """pycocoevalcap splits at single spaces: it gets the words joined by them, and nothing for nothing."""
    scores = []
    for text, references in corpus:
        joined = [" ".join(text.split()), *(" ".join(reference.split()) for reference in references)]
        scores.append(Rouge().calc_score(joined[:1], joined[1:]) if joined[0] else 0.0)
    return float(np.mean(scores)), np.array(scores)


def cider_d(corpus: Corpus) -> tuple[float, np.ndarray]:
    scorer = CiderScorer(n=4, sigma=6.0)
    for text, references in corpus:
        scorer += (text, list(references))
    scorer.compute_doc_freq()  # compute_score refuses references without any word
    scores = np.array(scorer.compute_cider())
    return float(scores.mean()), scores


def rouge(kind: str) -> Callable[[Corpus], tuple[float, np.ndarray]]:
    scorer = RougeScorer([kind], use_stemmer=True)

    def scores(corpus: Corpus) -> tuple[float, np.ndarray]:
        found = np.array([scorer.score_multi(list(refs), text)[kind].fmeasure for text, refs in corpus])
        return float(found.mean()), found

    return scores


def meteor(corpus: Corpus) -> tuple[float, np.ndarray]:
    scores = np.array(
        [meteor_score([ref.split() for ref in refs], text.split(), wordnet=NoWordNet()) for text, refs in corpus]
    )
    return float(scores.mean()), scores


def sentence_bleu(corpus: Corpus) -> tuple[float, np.ndarray]:
    scores = np.array([sacrebleu.sentence_bleu(text, list(refs)).score for text, refs in corpus])
    return float(scores.mean()), scores


def sentence_bleu_max(corpus: Corpus) -> tuple[float, np.ndarray]:
    scores = np.array([max(sacrebleu.sentence_bleu(text, [ref]).score for ref in refs) for text, refs in corpus])
    return float(scores.mean()), scores


def score_bleu(corpus: Corpus) -> tuple[float, np.ndarray]:
    """Hugging Face's sacrebleu metric, one text at a time."""
    scores = np.array([sacrebleu.corpus_bleu([text], [[ref] for ref in refs]).score for text, refs in corpus])
    return float(scores.mean()), scores


def corpus_bleu(corpus: Corpus) -> float:
    """References are transposed for sacreBLEU, and None stands where a text has fewer."""
    texts, references = zip(*corpus, strict=True)
    n = max(map(len, references))
    streams = [[refs[j] if j < len(refs) else None for refs in references] for j in range(n)]
    return float(sacrebleu.corpus_bleu(texts, streams).score)


ORACLES: dict[str, Callable[[Corpus], tuple[float, np.ndarray]]] = {
    "rouge_1": rouge("rouge1"),
    "rouge_2": rouge("rouge2"),
    "rouge_l": rouge("rougeL"),
    "rouge_l_caption": caption_rouge,
    "meteor": meteor,
    "cider_d": cider_d,
    "sentence_bleu": sentence_bleu,
    "sentence_bleu_max": sentence_bleu_max,
    "score_bleu": score_bleu,
}


def check(name: str, corpus: Corpus) -> None:
    value, by_text = values_of(name, corpus)
    expected, expected_by_text = ORACLES[name](corpus)
    np.testing.assert_allclose(by_text, expected_by_text, rtol=1e-10, atol=1e-12)
    assert value == close(expected)


def check_corpus_bleus(corpus: Corpus) -> None:
    """BLEU-1 to 4 of captions, and sacreBLEU, which are numbers of a whole corpus."""
    expected, _ = caption_bleu(corpus)
    found = [values_of(f"bleu_{n}", corpus)[0] for n in (1, 2, 3, 4)]
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-300)
    assert values_of("bleu", corpus)[0] == close(corpus_bleu(corpus))
