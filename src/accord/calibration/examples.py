"""From rows to what a training step reads: token ids and scores, prompt by prompt."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from accord.artifacts import require_complete
from accord.candidates.generators.protocol import Generator
from accord.candidates.strategies import prompt_for
from accord.errors import ConfigError, DataError
from accord.json_files import read_jsonl
from accord.randomness import keyed_rng
from accord.records import CandidateSet, Prompt
from accord.training.held_out import group_of

logger = logging.getLogger(__name__)

CANDIDATES_FILE = "candidates.jsonl"


class Sized(Protocol):
    """What grouping by length asks of an example."""

    @property
    def id(self) -> str: ...

    @property
    def n_tokens(self) -> int: ...


SizedT = TypeVar("SizedT", bound=Sized)


class Example(NamedTuple):
    """One prompt with its K candidates and R references as token ids; `scores` is what this run ranks by.

    Candidates and references begin with the `forced_prefix` of the prompt (see `Generator`), mostly none.

    `true_scores` differ from `scores` in the shuffled control alone. `n_cut` prompt tokens were left out;
    `n_unfinished` candidates have no end of sequence. `stored_logps` is Σ log p as the file has it; `start_logps` as
    the generator gave it before training, where an objective asked for it (else empty).
    """

    id: str
    group: str
    prompt: Prompt
    prompt_ids: list[int]
    forced_prefix: list[int]
    candidate_ids: list[list[int]]
    reference_ids: list[list[int]]
    scores: list[float]
    true_scores: list[float]
    n_cut: int
    n_unfinished: int
    stored_logps: list[float]
    start_logps: list[float]

    @property
    def n_tokens(self) -> int:
        """Length of the packed row, about."""
        return len(self.prompt_ids) + sum(map(len, [*self.candidate_ids, *self.reference_ids]))

    def with_candidates(self, numbers: Sequence[int]) -> "Example":
        """The same prompt with some of its candidates."""
        return self._replace(
            candidate_ids=[self.candidate_ids[k] for k in numbers],
            scores=[self.scores[k] for k in numbers],
            true_scores=[self.true_scores[k] for k in numbers],
            stored_logps=[self.stored_logps[k] for k in numbers],
            start_logps=[self.start_logps[k] for k in numbers] if self.start_logps else [],
        )


def read_candidates(folder_or_file: Path) -> list[CandidateSet]:
    """The scored candidates of an `accord score` folder, or of a JSONL file.

    Raises:
        ArtifactError: the folder is unfinished or another stage's. DataError: a row without scores.
    """
    path = folder_or_file if folder_or_file.is_file() else require_complete(folder_or_file, "score") / CANDIDATES_FILE
    rows = list(read_jsonl(path, CandidateSet))
    for number, row in enumerate(rows, start=1):
        if row.scores is None:
            raise DataError(f"{path} line {number}: {row.id!r} has no scores. Run `accord score` on it first.")
        numbers = {"scores": row.scores, "n_tokens": row.n_tokens, "sum_logps": row.sum_logps}
        for name, found in ((name, len(values)) for name, values in numbers.items()):
            if found != len(row.completions):
                raise DataError(
                    f"{path} line {number}: {found} {name} for {len(row.completions)} completions. Expected as many; "
                    "run `accord score` again."
                )
    return rows


def encode_rows(
    rows: Sequence[CandidateSet],
    generator: Generator,
    *,
    max_prompt_tokens: int,
    score_control: str,
    seed: int,
) -> list[Example]:
    """Token ids of every row. A prompt that is too long loses its beginning, which is counted and logged."""
    examples = [_encoded(row, generator, max_prompt_tokens, score_control, seed) for row in rows]
    log_cut_prompts([example.n_cut for example in examples], max_prompt_tokens=max_prompt_tokens)
    return examples


def log_cut_prompts(n_cut: Sequence[int], *, max_prompt_tokens: int) -> None:
    """Say how many prompts lost tokens; `n_cut` is how many each of them lost."""
    n_prompts_cut = sum(n > 0 for n in n_cut)
    if n_prompts_cut:
        logger.warning(
            "%d of %d prompts are longer than %d tokens and lost their beginning.",
            n_prompts_cut,
            len(n_cut),
            max_prompt_tokens,
        )


def require_references(examples: Sequence[Example], *, ranking_weight: float, reference_weight: float) -> None:
    """Refuse weights that leave nothing to learn from.

    Raises:
        ConfigError: no weight is positive, or the reference loss has no reference.
    """
    if ranking_weight < 0 or reference_weight < 0 or ranking_weight + reference_weight == 0:
        raise ConfigError(
            f"ranking_weight {ranking_weight} and reference_weight {reference_weight}: expected no negative weight and "
            "at least one above 0."
        )
    if reference_weight > 0 and not any(example.reference_ids for example in examples):
        raise ConfigError(
            f"reference_weight is {reference_weight}, but no row has references. Add references to the prompts, or "
            "set --reference-weight 0."
        )


def _encoded(row: CandidateSet, generator: Generator, max_prompt_tokens: int, score_control: str, seed: int) -> Example:
    assert row.scores is not None, "read_candidates checks this"
    prompt = prompt_for(row, generator)
    prompt_ids, prefix = generator.prompt_ids(prompt), generator.forced_prefix(prompt)
    ended = [generator.completion_ids(text) for text in row.completions]
    candidate_ids = [_as_written(ids, n_tokens) for ids, n_tokens in zip(ended, row.n_tokens, strict=True)]
    true_scores = list(row.scores)
    order = keyed_rng(seed, "shuffle", row.id).permutation(len(true_scores)) if score_control == "shuffled" else None
    return Example(
        id=row.id,
        group=group_of(row),
        prompt=row.prompt,
        prompt_ids=prompt_ids[-max_prompt_tokens:],
        forced_prefix=prefix,
        candidate_ids=[prefix + ids for ids in candidate_ids],
        reference_ids=[prefix + generator.completion_ids(text) for text in row.references],
        scores=true_scores if order is None else [true_scores[k] for k in order],
        true_scores=true_scores,
        n_cut=max(0, len(prompt_ids) - max_prompt_tokens),
        n_unfinished=sum(len(ids) < len(whole) for ids, whole in zip(candidate_ids, ended, strict=True)),
        stored_logps=list(row.sum_logps),
        start_logps=[],
    )


def _as_written(ended_ids: list[int], n_tokens: int) -> list[int]:
    """A candidate without the end of sequence that it never had: one that stopped at the length limit.

    Its recorded number of tokens, which counts an end only where there was one, is then no more than that of its text.
    To add an end would judge (and teach) stopping in mid-sentence.
    """
    unfinished = 0 < n_tokens < len(ended_ids)
    return ended_ids[:-1] if unfinished else ended_ids


def micro_batches(examples: Sequence[SizedT], size: int) -> list[list[SizedT]]:
    """A step's examples in groups of `size`, alike in length, so that little is padded; the sums do not change."""
    ordered = sorted(examples, key=lambda example: (-example.n_tokens, example.id))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]
