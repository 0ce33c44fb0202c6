"""Settings of `accord prepare` and `accord describe`. Imports nothing heavy: this is what --help reads."""

from dataclasses import dataclass
from typing import Literal

Format = Literal[
    "auto", "jsonl", "json", "csv", "tsv", "parquet", "lewidi2023", "lewidi2025", "crowdkit", "cleanlab", "prism"
]
Source = Literal["file", "annomi", "convabuse", "esconv", "mi", "mic", "mic-prompts", "scruples-dilemmas", "socialchem"]
OnBadRow = Literal["raise", "skip"]
HistoryLayout = Literal["chat", "text"]
ReplyContext = Literal["prompt_and_reply", "prompt", "tagged"]
DisjointText = Literal["none", "pair", "completion", "prompt"]


@dataclass(frozen=True)
class PrepareSettings:
    source: Source = "file"
    """What CORPUS is: one file of annotations, or a corpus that accord knows."""
    format: Format = "auto"
    """Format of the file; auto goes by its ending (standard input: jsonl; hub:NAME: parquet)."""
    subset: str = ""
    """hub:NAME: the configuration of the data set, where it has several."""
    scheme: str = ""
    """Label scheme: a shipped name or a JSON file. Empty: the corpus's own, `acceptable` for a file."""
    question: str = ""
    """Which question to use where annotations answer several. Empty: the scheme's."""
    rename: tuple[str, ...] = ()
    """Fields or columns to rename while reading, each as FOUND=WANTED, e.g. text=completion."""
    annotator_columns: tuple[str, ...] = ()
    """Wide tables: the columns that hold one annotator's labels each; glob patterns, e.g. "ann*"."""
    delimiter: str = ""
    """Column separator of a table. Empty: comma for csv, tab for tsv."""
    texts: str = ""
    """Tables of labels alone (crowdkit, cleanlab): file with the texts, columns id, completion and prompt."""
    traits: str = ""
    """File with the annotators' traits: a table with a column annotator and one a trait, or JSONL."""
    prompts: Literal["required", "optional"] = "required"
    """Whether each row must have a prompt, or a missing one means a text that stands alone."""
    history: HistoryLayout = "chat"
    """annomi, esconv, mi: the conversation before a turn as a chat, or as one text with a line for each turn."""
    history_turns: int = 0
    """annomi, esconv, mi: only the last so many turns of the conversation; 0 keeps all."""
    context: ReplyContext = "prompt_and_reply"
    """mic, mic-prompts: what a rule of thumb is about: "Q: ... A: ...", the prompt alone, or "Q [answ] A [rot]"."""
    prompts_per_group: int = 0
    """esconv, mic-prompts: at most so many prompts of one dialogue, drawn with the seed; 0 keeps all."""
    max_prompts: int = 0
    """esconv, mic-prompts: at most so many prompts in each split, drawn with the seed; 0 keeps all."""
    on_bad_row: OnBadRow = "raise"
    """Stop with a list of all bad rows, or write them to rejects.jsonl and go on without them."""
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Shares of items for train, dev and test, where the data brings no split of its own."""
    resplit: bool = False
    """Make a new split although the data brings one."""
    disjoint_text: DisjointText = "pair"
    """New splits: which identical texts must stay on one side, beside items of one group."""
    n_resamples: int = 1000
    """Bootstrap resamples behind each interval."""
