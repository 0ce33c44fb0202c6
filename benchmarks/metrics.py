"""All n-gram metrics together against the libraries that define them, one after another (docs/metrics.md).

    OMP_NUM_THREADS=1 python -m benchmarks.metrics                 # 10,000 texts with 3 references each, 3 rounds
    OMP_NUM_THREADS=1 python -m benchmarks.metrics --n 300 --rounds 2
    python -m benchmarks.metrics --n 300 --meteor                  # how far the three METEORs are apart

Both sides get the same texts in memory, in one process, on one thread, and have their modules imported and warmed up
before. First the numbers are compared, of the corpus and of every text; only if all agree is the time of any worth
printing. METEOR is without WordNet on both sides. The texts are sentences of the embedded demo sample, cut, mixed and
misspelt with a fixed seed, so that they share words with their references as outputs of a model do.
"""

import argparse
import os
import random
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sacrebleu
from nltk.translate.meteor_score import meteor_score
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider_scorer import CiderScorer
from pycocoevalcap.rouge.rouge import Rouge
from rouge_score.rouge_scorer import RougeScorer
from scipy import stats

from accord.demo.pack import load_pack
from accord.evaluation.evaluate import evaluate_texts
from accord.evaluation.metrics.wordnet import FOLDER_VARIABLE, load_wordnet
from accord.evaluation.settings import EvaluateSettings
from benchmarks.claims import Claim, finish, versions_of

Corpus = Sequence[tuple[str, tuple[str, ...]]]
Scores = dict[str, np.ndarray]
N_REFERENCES = 3
CORPUS_METRICS = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "bleu")
METRICS = (
    *CORPUS_METRICS, "sentence_bleu", "sentence_bleu_max", "score_bleu", "rouge_1", "rouge_2", "rouge_l",
    "rouge_l_caption", "meteor", "cider_d",
)  # fmt: skip
"""Every n-gram metric that a library defines."""


class NoWordNet:
    """NLTK's METEOR without synonyms."""

    def synsets(self, _: str) -> list[Any]:
        return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=10_000, help="texts, each with three references")
    parser.add_argument("--rounds", type=int, default=3, help="how often both sides are timed, in turn")
    parser.add_argument("--json", type=Path, default=None, help="file to write the result to")
    parser.add_argument("--meteor", action="store_true", help="only compare METEOR with METEOR 1.5, which needs Java")
    arguments = parser.parse_args()
    corpus = build_corpus(arguments.n)
    if arguments.meteor:
        compare_meteors(corpus)
        return
    words = [len(text.split()) for text, references in corpus for text in (text, *references)]
    print(f"{len(corpus)} texts, {N_REFERENCES} references each, {statistics.mean(words):.1f} words on average")
    warm_up(corpus[:20])
    check_memory(corpus)
    check_numbers(ours(corpus), libraries(corpus))
    times = [(seconds(ours, corpus), seconds(libraries, corpus)) for _ in range(arguments.rounds)]
    claim = Claim(
        claim="n-gram metrics",
        peer="the libraries that define them",
        versions=versions_of("sacrebleu", "nltk", "rouge-score", "pycocoevalcap"),
        ours_seconds=[own for own, _ in times],
        peer_seconds=[theirs for _, theirs in times],
        agree={"numbers that differ in the tenth digit": 0},
        settings={"texts": len(corpus), "references of each": N_REFERENCES},
    )
    finish([claim], argparse.Namespace(json=arguments.json, scale=1))


def compare_meteors(corpus: Corpus) -> None:
    """METEOR with and without WordNet, where there is one, and METEOR 1.5: of the corpus, and how alike they rank."""
    texts, references = [text for text, _ in corpus], [references for _, references in corpus]
    found = [evaluate_texts(texts, references, settings=EvaluateSettings(metrics=("meteor", "meteor15")))]
    if load_wordnet() is not None:
        os.environ[FOLDER_VARIABLE] = "none"
        load_wordnet.cache_clear()
        found.append(evaluate_texts(texts, references, settings=EvaluateSettings(metrics=("meteor",))))
    theirs = found[0]["meteor15"]
    print(f"{theirs.value:.4f} {theirs.signature}")
    for scores in found:
        own = scores["meteor"]
        rank = stats.spearmanr(own.per_text, theirs.per_text).statistic
        print(f"{own.value:.4f} {own.signature}; Spearman with METEOR 1.5 over texts {rank:.3f}")


def build_corpus(n: int) -> Corpus:
    """The same texts for the same n."""
    rng = random.Random(20230)
    texts = [text for row in load_pack() for text in (row.message, *(reply.text for reply in row.replies))]
    sentences = sorted({line for text in texts for line in text.split(". ") if len(line.split()) > 3})
    corpus = []
    for _ in range(n):
        about = rng.sample(sentences, 3)
        corpus.append((mixed(about, rng), tuple(mixed(about, rng) for _ in range(N_REFERENCES))))
    return corpus


def mixed(sentences: Sequence[str], rng: random.Random) -> str:
    """One or two of the sentences with some words left out, swapped or changed."""
    words = " . ".join(rng.sample(sentences, rng.choice((1, 2)))).split()
    kept = [word for word in words if rng.random() > 0.15] or words[:1]
    for _ in range(len(kept) // 6):
        place = rng.randrange(len(kept))
        kept[place] = rng.choice((kept[place] + "s", kept[place].lower(), rng.choice(kept)))
    return " ".join(kept)


def ours(corpus: Corpus) -> Scores:
    settings = EvaluateSettings(metrics=METRICS)
    found = evaluate_texts([text for text, _ in corpus], [references for _, references in corpus], settings=settings)
    scores: Scores = {}
    for name, result in found.items():
        values = [result.value] if name in CORPUS_METRICS else [result.value, *result.per_text]
        scores[name] = np.array(values)
    return scores


def libraries(corpus: Corpus) -> Scores:
    """Every library as its documentation says, one after another."""
    scores: Scores = {}
    for measure in (caption_bleu, corpus_bleu, sentence_bleus, rouge, caption_rouge, meteor, cider):
        scores |= measure(corpus)
    return scores


def caption_bleu(corpus: Corpus) -> Scores:
    scorer = BleuScorer(n=4)
    for text, references in corpus:
        scorer += (text, list(references))
    values, _ = scorer.compute_score(option="closest")
    return {f"bleu_{n}": np.array([value]) for n, value in enumerate(values, start=1)}


def corpus_bleu(corpus: Corpus) -> Scores:
    streams = [[references[j] for _, references in corpus] for j in range(N_REFERENCES)]
    return {"bleu": np.array([sacrebleu.corpus_bleu([text for text, _ in corpus], streams).score])}


def sentence_bleus(corpus: Corpus) -> Scores:
    """References together, the best single one, and together without leaving out orders (Hugging Face's way)."""
    together = [sacrebleu.sentence_bleu(text, list(references)).score for text, references in corpus]
    best = [max(sacrebleu.sentence_bleu(text, [r]).score for r in references) for text, references in corpus]
    whole = [sacrebleu.corpus_bleu([text], [[r] for r in references]).score for text, references in corpus]
    return {
        "sentence_bleu": with_mean(together),
        "sentence_bleu_max": with_mean(best),
        "score_bleu": with_mean(whole),
    }


def rouge(corpus: Corpus) -> Scores:
    kinds = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}
    scorer = RougeScorer(list(kinds.values()), use_stemmer=True)
    found = [scorer.score_multi(list(references), text) for text, references in corpus]
    return {name: with_mean([row[kind].fmeasure for row in found]) for name, kind in kinds.items()}


def caption_rouge(corpus: Corpus) -> Scores:
    scorer = Rouge()
    return {"rouge_l_caption": with_mean([scorer.calc_score([text], list(references)) for text, references in corpus])}


def meteor(corpus: Corpus) -> Scores:
    wordnet = NoWordNet()
    scores = [
        meteor_score([reference.split() for reference in references], text.split(), wordnet=wordnet)
        for text, references in corpus
    ]
    return {"meteor": with_mean(scores)}


def cider(corpus: Corpus) -> Scores:
    scorer = CiderScorer(n=4, sigma=6.0)
    for text, references in corpus:
        scorer += (text, list(references))
    return {"cider_d": with_mean(scorer.compute_score()[1])}


def with_mean(scores: Sequence[float]) -> np.ndarray:
    return np.array([float(np.mean(scores)), *scores])


def warm_up(corpus: Corpus) -> None:
    ours(corpus)
    libraries(corpus)


def check_numbers(own: Scores, theirs: Scores) -> None:
    """Stop at the first number that differs in the tenth digit."""
    for name in METRICS:
        np.testing.assert_allclose(own[name], theirs[name], rtol=1e-10, atol=1e-12, err_msg=name)
        print(f"{name:>16} {own[name][0]:.10f} = {theirs[name][0]:.10f}  ({len(own[name])} numbers compared)")


def check_memory(corpus: Corpus) -> None:
    """Peak memory of the process after a quarter of the texts and after all of them; only accord has run at length."""
    ours(corpus[: len(corpus) // 4])
    quarter = peak_mebibytes()
    ours(corpus)
    print(f"peak memory: {quarter:.0f} MiB after a quarter of the texts, {peak_mebibytes():.0f} MiB after all")


def peak_mebibytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def seconds(run: Callable[[Corpus], Scores], corpus: Corpus) -> float:
    started = time.perf_counter()
    run(corpus)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
