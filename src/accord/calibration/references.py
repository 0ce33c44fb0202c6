"""From prompts with references to what a tuning step reads: who takes part, and their token ids."""

from collections.abc import Sequence
from typing import NamedTuple

from accord.calibration.examples import log_cut_prompts
from accord.candidates.generators.protocol import Generator
from accord.candidates.reference_logps import reference_ids
from accord.candidates.strategies import prompt_for
from accord.errors import DataError
from accord.randomness import keyed_rng
from accord.records import PromptRow
from accord.training.held_out import group_of


class TuneExample(NamedTuple):
    """One prompt with its references as token ids.

    `n_cut` tokens of the prompt were left out at its beginning; `n_cut_references` references lost their end.
    """

    id: str
    group: str
    prompt_ids: list[int]
    reference_ids: list[list[int]]
    n_cut: int
    n_cut_references: int

    @property
    def n_reference_tokens(self) -> int:
        return sum(map(len, self.reference_ids))

    @property
    def n_tokens(self) -> int:
        """Length of the packed row, about."""
        return len(self.prompt_ids) + self.n_reference_tokens


def with_references(rows: Sequence[PromptRow]) -> list[PromptRow]:
    """The rows that can teach or validate.

    Raises:
        DataError: there is none.
    """
    kept = [row for row in rows if row.references]
    if not kept:
        raise DataError(
            f"none of {len(rows)} prompts to tune on has references. Expected the texts that people wrote to them: "
            'give the rows {"references": ["..."]}.'
        )
    return kept


def drawn_rows(rows: Sequence[PromptRow], n_wanted: int | None, seed: int) -> list[PromptRow]:
    """A keyed draw of `n_wanted` rows, in their order; all where there are no more."""
    order = keyed_rng(seed, "dev prompts").permutation(len(rows))
    return [rows[int(number)] for number in sorted(order[:n_wanted])]


def encode_references(
    rows: Sequence[PromptRow], generator: Generator, *, max_prompt_tokens: int, max_reference_tokens: int
) -> list[TuneExample]:
    """Token ids of every row. Prompts that leave the model no room for a reference are left out."""
    prompts = [prompt_for(row, generator) for row in rows]
    whole = [generator.prompt_ids(prompt) for prompt in prompts]
    kept = [ids[-max_prompt_tokens:] for ids in whole]
    references = [
        reference_ids(
            generator,
            [prompt_ids],
            [row.references],
            max_tokens=max_reference_tokens,
            prefixes=[generator.forced_prefix(prompt)],
        )
        for row, prompt, prompt_ids in zip(rows, prompts, kept, strict=True)
    ]
    examples = [
        TuneExample(row.id, group_of(row), prompt_ids, found.ids[0], len(ids) - len(prompt_ids), found.n_cut)
        for row, ids, prompt_ids, found in zip(rows, whole, kept, references, strict=True)
        if any(found.ids[0])
    ]
    log_cut_prompts([example.n_cut for example in examples], max_prompt_tokens=max_prompt_tokens)
    return examples
