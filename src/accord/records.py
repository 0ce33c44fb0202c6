"""The nouns of accord: what the files hold, one record per line.

Field names are the column names of the JSONL files (docs/data.md). Records are frozen; a changed record is a
new one (`msgspec.structs.replace`).
"""

from typing import Literal, get_args

import msgspec

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, repr_omit_defaults=True):
    """One turn of a chat, as in TRL and transformers.

    `strategy` is the support strategy of an assistant's turn, where a corpus tells it. Chat templates and plain prompts
    leave it out; generators that are conditioned on strategies read it.
    """

    role: str
    content: str
    strategy: str | None = None


Prompt = str | tuple[Message, ...]
"""A plain string or a chat."""


class Annotation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One annotator's label on one item; `question` names the question where a scheme asks several."""

    annotator: str
    label: str
    question: str | None = None


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """A completion that several people judged in the light of its prompt (one line of items.jsonl).

    `votes` (label -> count) replaces `annotations` where the annotators are unknown. `group` keeps what belongs
    together (a dialogue, a source) on one side of every split. `system` is who wrote the completion.
    """

    id: str
    prompt: Prompt
    completion: str
    annotations: tuple[Annotation, ...] = ()
    votes: dict[str, int] | None = None
    group: str | None = None
    split: Split | None = None
    system: str | None = None


class PromptRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A prompt to generate for, with the human-written texts it has, if any (one line of prompts.jsonl).

    `strategy` is the support strategy of the reply, as a person annotated it or a planner chose it.
    """

    id: str
    prompt: Prompt
    references: tuple[str, ...] = ()
    group: str | None = None
    split: Split | None = None
    strategy: str | None = None


class CandidateSet(msgspec.Struct, frozen=True, omit_defaults=True):
    """K distinct completions of one prompt (one line of candidates.jsonl); the lists are parallel.

    `sum_logps`: the generator's own log-probability of each completion in nats, end of sequence counted;
    `n_tokens`: its number of tokens, counted the same way; `search_scores`: what the search ranked by,
    penalties included; `copies`: how many identical candidates were merged into one; `scores`: higher is
    better, what calibration ranks by (added by `accord score`); `strategy`: the one that the generator was given or
    chose to write them with, if it takes strategies.
    """

    id: str
    prompt: Prompt
    completions: tuple[str, ...]
    sum_logps: tuple[float, ...]
    n_tokens: tuple[int, ...]
    search_scores: tuple[float, ...]
    copies: tuple[int, ...] = ()
    scores: tuple[float, ...] | None = None
    references: tuple[str, ...] = ()
    group: str | None = None
    split: Split | None = None
    strategy: str | None = None


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one system wrote for one prompt (one line of outputs.jsonl); `sample` counts draws per prompt.

    (`id`, `system`, `seed`, `sample`) is unique; `id` is the prompt's id. `reference_logp`: what the generator that
    wrote it thinks of the prompt's references, Σ log p over their `reference_tokens` tokens in nats. `strategy`: the
    one it was written with, if the generator takes strategies.
    """

    id: str
    prompt: Prompt
    completion: str
    system: str
    seed: int = 0
    sample: int = 0
    references: tuple[str, ...] = ()
    group: str | None = None
    reference_logp: float | None = None
    reference_tokens: int | None = None
    strategy: str | None = None


class Measurement(msgspec.Struct, frozen=True):
    """One number of a report: a metric of a system with its interval, its n and the metric's signature.

    `value`, `low`, `high` are nan where undefined (written as null). `system` is "A - B" for a paired difference.
    """

    name: str
    system: str
    value: float
    low: float
    high: float
    n: int
    signature: str
