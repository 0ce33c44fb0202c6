"""One way from prompts to completions for every method, and the stage that writes the outputs of one system."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from accord.artifacts import Stage, open_stage, settings_dict
from accord.candidates.diverse_beam import EarlyStopping, Hypothesis, diverse_beams
from accord.candidates.forced import encoded_after
from accord.candidates.generators.load import load_chosen
from accord.candidates.generators.protocol import Generator
from accord.candidates.processors import build_processors
from accord.candidates.prompts import Plan, build_plan, read_prompts
from accord.candidates.reference_logps import ReferenceIds, ReferenceLogp, reference_ids, reference_logps
from accord.candidates.sampling import sampled
from accord.candidates.settings import DecodeSettings, GenerateSettings
from accord.candidates.strategies import chosen_strategies, prompt_for
from accord.candidates.trimming import trimmed
from accord.errors import ConfigError
from accord.json_files import read_jsonl, write_json
from accord.pretrained import content_name
from accord.randomness import keyed_rng
from accord.records import Measurement, Output, PromptRow
from accord.resumable import map_batches

VERSION = 2
OUTPUTS_FILE = "outputs.jsonl"

Method = Literal["diverse_beam", "beam", "greedy", "sample"]


def completions(
    generator: Generator,
    prompt_ids: Sequence[Sequence[int]],
    prompt_names: Sequence[str],
    *,
    method: Method,
    n: int = 1,
    beams_per_group: int = 1,
    seed: int = 0,
    diversity_penalty: float = 0.0,
    max_new_tokens: int,
    min_new_tokens: int = 0,
    no_repeat_ngram_size: int = 0,
    repetition_penalty: float = 1.0,
    length_penalty: float = 1.0,
    early_stopping: EarlyStopping = False,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    trim_unfinished: bool = False,
    prefixes: Sequence[Sequence[int]] | None = None,
) -> list[list[Hypothesis]]:
    """`n` completions of every prompt of one batch: best first, or in the order of the draws.

    Args:
        prefixes: what `generator` does not choose (`Generator.forced_prefix`), one list a prompt. The completions begin
            after it and do not hold it. None: nothing.
        beams_per_group: diverse_beam makes n / beams_per_group groups of so many beams.
        trim_unfinished: cut completions that reach the limit after their last whole sentence (see `trimmed`).
        prompt_names: what keys the draws of `sample` besides `seed` and the number of the draw; neighbours and
            batching therefore change nothing. The other methods draw nothing.

    Raises:
        ConfigError: `n` does not divide into groups, or a setting is out of its range.

    Differs from transformers: a finished group's padding is not penalised for later groups, and
    `no_repeat_ngram_size` and `repetition_penalty` look at the completion alone, so that a reply may take up the words
    of its prompt.
    """
    groups, beams = beam_groups(method, n, beams_per_group)
    encoded = encoded_after(generator, prompt_ids, prefixes)
    rules: dict[str, Any] = {
        "min_new_tokens": min_new_tokens,
        "length_penalty": length_penalty,
        "processors": build_processors(
            repetition_penalty=repetition_penalty, no_repeat_ngram_size=no_repeat_ngram_size
        ),
        "eos_ids": generator.eos_ids,
        "pad_id": generator.pad_id,
    }
    if method == "sample":
        uniforms = _uniforms(prompt_names, n, max_new_tokens, seed=seed)
        found = sampled(encoded, uniforms=uniforms, temperature=temperature, top_k=top_k, top_p=top_p, **rules)
    else:
        found = diverse_beams(
            encoded,
            n_groups=groups,
            beams_per_group=beams,
            diversity_penalty=diversity_penalty,
            max_new_tokens=max_new_tokens,
            early_stopping=early_stopping,
            padding_counts=False,
            **rules,
        )
    return [[trimmed(one, generator) for one in row] for row in found] if trim_unfinished else found


def decode_stage(
    prompts: Path, *, system: str, output_dir: Path, settings: DecodeSettings, seed: int, splits: Sequence[str] = ()
) -> Path:
    """Write what one generator answers to every prompt: `outputs.jsonl`, `samples` rows per prompt.

    Args:
        prompts: JSONL of PromptRow. system: what the generator is called in the evaluation.
        splits: only the prompts of these splits; empty: all.

    Returns:
        The stage's folder; finished work is reused, unfinished work goes on at the batch it had reached.

    Raises:
        ConfigError: several samples without `method: sample`. DataError: see `read_prompts`.
    """
    if settings.samples > 1 and settings.method != "sample":
        raise ConfigError(
            f"samples is {settings.samples} with method {settings.method!r}, which gives the same text each time. "
            "Set method to sample, or samples to 1."
        )
    stage = open_generation(
        output_dir, stage="decode", prompts=prompts, settings=settings, seed=seed, system=system, splits=splits
    )
    if not stage.is_complete:
        _decode(stage, read_prompts(prompts, splits=splits), system, settings, seed)
    return stage.folder


def open_generation(
    output_dir: Path,
    *,
    stage: str,
    prompts: Path,
    settings: DecodeSettings | GenerateSettings,
    seed: int,
    splits: Sequence[str],
    **more: str,
) -> Stage:
    """Open the folder of a stage that runs a generator."""
    return open_stage(
        output_dir,
        stage=stage,
        version=VERSION,
        settings={**settings_dict(settings), **more, "splits": list(splits)},
        seed=seed,
        inputs={"prompts": prompts, "model": content_name(settings.model)},
    )


def _decode(stage: Stage, rows: list[PromptRow], system: str, settings: DecodeSettings, seed: int) -> None:
    """Rows of work are (prompt, sample) pairs, prompt by prompt, so that one prefill serves a prompt's samples."""
    n_samples = settings.samples
    n_beams = settings.num_beams if settings.method == "beam" else n_samples
    generator, asked, plan = planned(rows, settings, copies=n_beams, seed=seed)
    references = _read_references(generator, plan, rows, asked, settings)

    def outputs_of(numbers: Sequence[int]) -> list[Output]:
        batch = [number // n_samples for number in numbers[::n_samples]]
        found = completions(
            generator,
            [plan.prompt_ids[row] for row in batch],
            [rows[row].id for row in batch],
            method=settings.method,
            n=n_beams,
            seed=seed,
            max_new_tokens=settings.max_new_tokens,
            min_new_tokens=settings.min_new_tokens,
            no_repeat_ngram_size=settings.no_repeat_ngram_size,
            length_penalty=settings.length_penalty,
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_p=settings.top_p,
            trim_unfinished=settings.trim_unfinished,
            prefixes=[plan.prefixes[row] for row in batch],
        )
        known = reference_logps(
            generator,
            [plan.prompt_ids[row] for row in batch],
            [references.ids[row] for row in batch],
            batch_tokens=settings.batch_tokens,
        )
        return [
            _output(asked[row], generator.text(one.ids), likely, system=system, seed=seed, sample=sample)
            for row, hypotheses, likely in zip(batch, found, known, strict=True)
            for sample, one in enumerate(hypotheses[:n_samples])
        ]

    batches = [[row * n_samples + sample for row in batch for sample in range(n_samples)] for batch in plan.batches]
    map_batches(stage.scratch_dir, batches, outputs_of, stage.path(OUTPUTS_FILE), label=f"Decoding {system}")
    results = _counts(stage, plan, system, n_cut_references=references.n_cut) + _strategy_share(rows, asked, system)
    write_json(stage.path("results.json"), results)
    stage.finish()


class Planned(NamedTuple):
    """A generator, the rows with the strategies that it writes after (none if it takes none), and its batches."""

    generator: Generator
    rows: list[PromptRow]
    plan: Plan


def planned(
    rows: Sequence[PromptRow], settings: DecodeSettings | GenerateSettings, *, copies: int, seed: int
) -> Planned:
    """What the settings make of the rows, with `copies` rows of the model for each prompt."""
    generator = load_chosen(settings)
    asked = chosen_strategies(
        rows,
        generator,
        choice=settings.strategy,
        max_prompt_tokens=settings.max_prompt_tokens,
        batch_tokens=settings.batch_tokens,
        seed=seed,
    )
    plan = build_plan(
        asked,
        generator,
        max_prompt_tokens=settings.max_prompt_tokens,
        max_new_tokens=settings.max_new_tokens,
        copies=copies,
        batch_tokens=settings.batch_tokens,
    )
    return Planned(generator, asked, plan)


def count(name: str, system: str, value: float, n: int, unit: str) -> Measurement:
    """A plain figure about a run, without an interval."""
    return Measurement(name, system, float(value), float("nan"), float("nan"), n, f"{name}|{unit}")


def _output(row: PromptRow, text: str, known: ReferenceLogp | None, *, system: str, seed: int, sample: int) -> Output:
    sum_logps, n_tokens = (None, None) if known is None else known[:2]
    return Output(
        row.id,
        row.prompt,
        text,
        system,
        seed,
        sample,
        row.references,
        row.group,
        sum_logps,
        n_tokens,
        strategy=row.strategy,
    )


def _read_references(
    generator: Generator,
    plan: Plan,
    rows: Sequence[PromptRow],
    asked: Sequence[PromptRow],
    settings: DecodeSettings,
) -> ReferenceIds:
    """The references as tokens, where their log-probabilities are asked for; each after its own strategy, if known."""
    if settings.max_reference_tokens is None:
        return ReferenceIds([[] for _ in rows], 0)
    own = [row if row.strategy is not None else one for row, one in zip(rows, asked, strict=True)]
    return reference_ids(
        generator,
        plan.prompt_ids,
        [row.references for row in rows],
        max_tokens=settings.max_reference_tokens,
        prefixes=[generator.forced_prefix(prompt_for(row, generator)) for row in own],
    )


def beam_groups(method: Method, n: int, beams_per_group: int) -> tuple[int, int]:
    """How many groups of how many beams find `n` completions."""
    if method != "diverse_beam":
        return {"beam": (1, n), "greedy": (1, 1), "sample": (1, n)}[method]
    if beams_per_group < 1 or n % beams_per_group:
        raise ConfigError(
            f"{n} candidates do not divide into groups of {beams_per_group} beams. "
            "Set num_candidates to a multiple of beams_per_group."
        )
    return n // beams_per_group, beams_per_group


def _uniforms(prompt_names: Sequence[str], n: int, max_new_tokens: int, *, seed: int) -> torch.Tensor:
    """[B, n, T] uniform numbers keyed by (seed, prompt, draw)."""
    draws = [
        [keyed_rng(seed, "sample", name, draw).random(max_new_tokens) for draw in range(n)] for name in prompt_names
    ]
    return torch.from_numpy(np.array(draws).reshape(len(prompt_names), n, max_new_tokens))


def _counts(stage: Stage, plan: Plan, system: str, *, n_cut_references: int) -> list[Measurement]:
    n_empty = sum(not output.completion.strip() for output in read_jsonl(stage.path(OUTPUTS_FILE), Output))
    n_prompts = len(plan.prompt_ids)
    return [
        count("empty_outputs", system, n_empty, n_prompts, "count"),
        count("cut_prompts", system, plan.n_cut, n_prompts, "count"),
        count("cut_references", system, n_cut_references, n_prompts, "count"),
        count("padding_share", system, plan.padding_share, n_prompts, "share of prompt tokens"),
    ]


def _strategy_share(rows: Sequence[PromptRow], asked: Sequence[PromptRow], system: str) -> list[Measurement]:
    """How often the strategy that was followed is the annotated one, where a generator follows any."""
    followed = [one.strategy == row.strategy for row, one in zip(rows, asked, strict=True) if one.strategy is not None]
    if not followed:
        return []
    return [count("annotated_strategies", system, sum(followed) / len(followed), len(followed), "share of prompts")]
