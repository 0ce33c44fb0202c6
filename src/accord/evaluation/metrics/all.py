"""All metrics by name. A new one: a file beside these, and a line here."""

from collections.abc import Callable

from accord.evaluation.metrics import length_adjusted
from accord.evaluation.metrics.acceptance import acceptance
from accord.evaluation.metrics.bertscore import bertscore
from accord.evaluation.metrics.bleu import bleu, score_bleu, sentence_bleu, sentence_bleu_max
from accord.evaluation.metrics.caption_bleu import caption_bleu
from accord.evaluation.metrics.caption_rouge import rouge_l_caption
from accord.evaluation.metrics.cider import cider, cider_d
from accord.evaluation.metrics.distinct import distinct
from accord.evaluation.metrics.embeddings import embedding_average, embedding_extrema, embedding_greedy
from accord.evaluation.metrics.length import length, length_tokens
from accord.evaluation.metrics.meteor import meteor
from accord.evaluation.metrics.meteor15 import meteor15
from accord.evaluation.metrics.metric import Metric, MetricInputs
from accord.evaluation.metrics.perplexity import perplexity
from accord.evaluation.metrics.repetition import repetition
from accord.evaluation.metrics.rouge import rouge_1, rouge_2, rouge_l
from accord.evaluation.metrics.self_bleu import self_bleu

METRICS: dict[str, Callable[[MetricInputs], Metric]] = {
    "acceptance": acceptance,
    "bleu": bleu,
    "sentence_bleu": sentence_bleu,
    "sentence_bleu_max": sentence_bleu_max,
    "score_bleu": score_bleu,
    "bleu_1": caption_bleu(1),
    "bleu_2": caption_bleu(2),
    "bleu_3": caption_bleu(3),
    "bleu_4": caption_bleu(4),
    "rouge_1": rouge_1,
    "rouge_2": rouge_2,
    "rouge_l": rouge_l,
    "rouge_l_caption": rouge_l_caption,
    "meteor": meteor,
    "meteor15": meteor15,
    "cider": cider,
    "cider_d": cider_d,
    "embedding_average": embedding_average,
    "embedding_extrema": embedding_extrema,
    "embedding_greedy": embedding_greedy,
    "bertscore_p": bertscore("p"),
    "bertscore_r": bertscore("r"),
    "bertscore_f1": bertscore("f1"),
    "length": length,
    "length_tokens": length_tokens,
    "distinct_1": distinct(1),
    "distinct_2": distinct(2),
    "distinct_3": distinct(3),
    "self_bleu": self_bleu,
    "repetition": repetition,
    "perplexity": perplexity,
}
PAIRED = {length_adjusted.NAME: ("acceptance", "length")}
"""Metrics that only a comparison of two systems has, and the metrics they are made of."""
NEUTRAL = frozenset({"length", "length_tokens"})
"""Metrics of which more is neither better nor worse."""
LOWER_IS_BETTER = frozenset({"self_bleu", "repetition", "perplexity"})
"""Metrics of which less is better; of all others, and of given values, more is better."""
