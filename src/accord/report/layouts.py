"""How the paper's tables are laid out: their columns as metrics of accord, the published numbers, the footnotes.

The published numbers are in published.json, as printed in arXiv 2310.05782: `columns`, and rows of `generator`, `mode`
(the way of decoding), `row`, `values` and, where the paper marks some as significant, `marked`.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from accord.calibration.footnotes import RL_FOOTNOTE


class Column(NamedTuple):
    """A column: the paper's name, the metric that fills it, and what turns the metric into the paper's unit."""

    name: str
    metric: str
    factor: float = 100.0


class Layout(NamedTuple):
    """A table or figure of the paper. `published`: its key in published.json, "" where it prints no numbers; `form`: of
    the rating page whose answers fill the table, "" where metrics do."""

    title: str
    published: str
    columns: tuple[Column, ...]
    footnotes: tuple[str, ...]
    form: str = ""


SUPPORT_COLUMNS = (
    *(Column(f"B-{n}", f"bleu_{n}") for n in (1, 2, 3, 4)),
    Column("R-L", "rouge_l_caption"),
    Column("METEOR", "meteor15"),
    Column("CIDEr", "cider_d"),
    Column("Extreme", "embedding_extrema"),
)
MORAL_COLUMNS = (
    Column("R-1", "rouge_1"),
    Column("R-2", "rouge_2"),
    Column("R-L", "rouge_l"),
    Column("BertScore", "bertscore_f1"),
    Column("ScoreBLEU", "score_bleu", 1.0),
    Column("Avg.Len", "length", 1.0),
)
SUPPORT_RATINGS = tuple(
    Column(name, name.lower().replace(" ", "_"), 1.0)
    for name in ("Identification", "Comforting", "Suggestion", "Overall", "Global Consensus")
)
MORAL_RATINGS = tuple(
    Column(name, name.lower().replace(" ", "_").replace("-", "_"), 1.0)
    for name in ("Well-formedness", "Fluency", "Relevance", "Global Consensus")
)
OWN_COLUMNS = (
    Column("acceptance", "acceptance"),
    Column("distinct-2", "distinct_2"),
    Column("self-BLEU", "self_bleu"),
    Column("perplexity of the references", "perplexity", 1.0),
    Column("words", "length", 1.0),
)
"""What the paper does not report; shown where it was measured and the layout has no such column."""
ALTERNATIVES = {"meteor15": ("meteor",)}
"""Metrics that may stand in a column where its own was not measured; said in a footnote."""

NO_TEST = (
    "The paper marks p < 0.01 but names no test, and its released code holds none; Table 1's caption calls all rows "
    "significantly better than their base, though some are below it."
)
ON_TEST = (
    "The released code selects MultiESC's aligned checkpoint by BLEU-4 on the test set; here nothing is selected on "
    "test."
)
GOLD_STRATEGY = (
    "The published BlenderBot-Joint rows decode with the gold strategy of the reply; MultiESC's use predicted ones on "
    "test and gold ones on validation."
)
RL_ROW = (
    "Table 7's RL-MultiESC row repeats Table 1's Aligned_w/oA row of MultiESC digit for digit, and Fig. 5 prints other "
    "numbers for RL-MultiESC (B-1 11.75, CIDEr 26.02): at least one of them is not of RL."
)
GREEDY = (
    "The released code's greedy decoding samples (temperature 1, top-k 50), and its p=0.9 keeps top-k 50; the "
    "published p=0.9 rows are said to be the best of three hypotheses, of which the code draws one."
)
MAX_BLEU = (
    "ScoreBLEU: the released code takes the references jointly, as here; the paper says it takes the maximum over them."
)
RATINGS = (
    "Published: 100 outputs, three of six annotators each, no agreement statistic, no intervals and no test named."
)

SUPPORT_NOTES = (NO_TEST, ON_TEST, GOLD_STRATEGY)
LAYOUTS: Mapping[str, Layout] = {
    "table1": Layout("Table 1: automatic evaluation on ESConv", "table1", SUPPORT_COLUMNS, SUPPORT_NOTES),
    "table2": Layout(
        "Table 2: human evaluation on ESConv", "table2", SUPPORT_RATINGS, (RATINGS,), form="emotional-support"
    ),
    "table3": Layout("Table 3: automatic evaluation on MIC", "table3", MORAL_COLUMNS, (NO_TEST, GREEDY, MAX_BLEU)),
    "table4": Layout("Table 4: human evaluation on MIC", "table4", MORAL_RATINGS, (RATINGS,), form="rule-of-thumb"),
    "table7": Layout("Table 7: RL on ESConv", "table7", SUPPORT_COLUMNS, (*SUPPORT_NOTES, RL_ROW, RL_FOOTNOTE)),
    "table8": Layout("Table 8: RL on MIC", "table8", MORAL_COLUMNS, (NO_TEST, GREEDY, MAX_BLEU, RL_FOOTNOTE)),
    "figure3": Layout("Fig. 3: highest and lowest score among the candidates", "", SUPPORT_COLUMNS, ()),
    "figure4": Layout("Fig. 4: the number of candidates", "", SUPPORT_COLUMNS, (ON_TEST,)),
    "figure5": Layout(
        "Fig. 5: reinforcement learning or calibration", "figure5", SUPPORT_COLUMNS, (RL_ROW, RL_FOOTNOTE)
    ),
}


class Published(NamedTuple):
    """A row of numbers as printed; `marked`: the columns that carry the paper's †."""

    generator: str
    mode: str
    row: str
    values: Mapping[str, float | None]
    marked: frozenset[str]


@cache
def published_rows(layout: str) -> tuple[Published, ...]:
    """The rows of one of the paper's tables, in its order; none for a layout without printed numbers."""
    key = LAYOUTS[layout].published
    table = _published().get(key)
    if table is None:
        return ()
    columns = table["columns"]
    return tuple(
        Published(
            row["generator"],
            row["mode"],
            row["row"],
            dict(zip(columns, row["values"], strict=True)),
            frozenset(row.get("marked", ())),
        )
        for row in table["rows"]
    )


@cache
def _published() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files("accord.report").joinpath("published.json").read_text(encoding="utf-8"))
    return found
