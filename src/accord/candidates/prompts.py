"""The prompts of a run: read once, tokenised once, grouped into batches before the first token is written."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from accord.candidates.generators.protocol import Generator
from accord.candidates.strategies import prompt_for
from accord.data.prepared import prompts_file
from accord.errors import DataError
from accord.json_files import read_numbered
from accord.records import SPLITS, PromptRow
from accord.training.batches import padding_share, token_budget_batches


class Plan(NamedTuple):
    """Token ids and forced prefix of every prompt, the batches of prompt numbers; what was cut, the padding to come."""

    prompt_ids: list[list[int]]
    prefixes: list[list[int]]
    batches: list[list[int]]
    n_cut: int
    padding_share: float


def read_prompts(path: Path, *, splits: Sequence[str] = ()) -> list[PromptRow]:
    """The prompts of a JSONL file or of a prepared folder, of some splits where `splits` are given.

    Raises:
        DataError: no such file, a bad row, an id that occurs twice, a NUL character, or no prompt (in those splits).
        ArtifactError: a folder that `accord prepare` did not finish.
    """
    path = prompts_file(path)
    rows: list[PromptRow] = []
    seen: set[str] = set()
    for line, row in read_numbered(path, PromptRow, name=PromptRow.__name__):
        where = f"{path} line {line}"
        if row.id in seen:
            raise DataError(f"{where}: id {row.id!r} occurs twice. Expected one row per prompt; give each its own id.")
        if any("\0" in text for text in _texts(row)):
            raise DataError(f"{where}: a text of {row.id!r} holds a NUL character. Expected plain text; remove it.")
        seen.add(row.id)
        if not splits or row.split in splits:
            rows.append(row)
    if not rows:
        wanted = " or ".join(map(repr, splits))
        where = f"{path} has no prompt" + (f" of split {wanted}, one of {', '.join(SPLITS)}" if splits else "")
        raise DataError(f"{where}. Expected one PromptRow object per line.")
    return rows


def _texts(row: PromptRow) -> Iterator[str]:
    yield row.id
    yield from [row.prompt] if isinstance(row.prompt, str) else (message.content for message in row.prompt)
    yield from row.references


def build_plan(
    rows: Sequence[PromptRow],
    generator: Generator,
    *,
    max_prompt_tokens: int,
    max_new_tokens: int,
    copies: int,
    batch_tokens: int,
) -> Plan:
    """Tokenise the prompts and fill batches up to `batch_tokens`, for `copies` completions of each prompt.

    A prompt longer than `max_prompt_tokens` loses its beginning.

    Raises:
        DataError: a row without the strategy that the generator writes after.
    """
    prompts = [prompt_for(row, generator) for row in rows]
    full = [generator.prompt_ids(prompt) for prompt in prompts]
    prefixes = [generator.forced_prefix(prompt) for prompt in prompts]
    prompt_ids = [ids[-max_prompt_tokens:] for ids in full]
    lengths = [len(ids) + max_new_tokens * copies for ids in prompt_ids]  # what is kept of a prompt is kept once
    batches = token_budget_batches(lengths, max_tokens=batch_tokens)
    n_cut = sum(len(ids) > max_prompt_tokens for ids in full)
    return Plan(prompt_ids, prefixes, batches, n_cut, padding_share([len(ids) for ids in prompt_ids], batches))
