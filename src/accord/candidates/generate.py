"""The candidates stage: K different completions per prompt with the generator's own log-probabilities."""

from collections.abc import Sequence
from pathlib import Path

from accord.artifacts import Stage
from accord.candidates.decode import beam_groups, completions, count, open_generation, planned
from accord.candidates.diverse_beam import EarlyStopping, Hypothesis
from accord.candidates.generators.protocol import Generator
from accord.candidates.prompts import Plan, read_prompts
from accord.candidates.settings import GenerateSettings
from accord.json_files import read_jsonl, write_json
from accord.records import CandidateSet, PromptRow
from accord.resumable import map_batches

CANDIDATES_FILE = "candidates.jsonl"
EARLY_STOPPING: dict[str, EarlyStopping] = {"estimate": False, "first": True, "never": "never"}
"""The words of the settings, which YAML reads as words, and those of transformers."""


def generate_stage(
    prompts: Path, *, output_dir: Path, settings: GenerateSettings, seed: int, splits: Sequence[str] = ()
) -> Path:
    """Write `candidates.jsonl`: one CandidateSet per prompt, best `search_scores` first, in input order.

    Args:
        prompts: JSONL of PromptRow.
        splits: only the prompts of these splits; empty: all.

    Returns:
        The stage's folder; finished work is reused, unfinished work goes on at the batch it had reached.

    Raises:
        ConfigError: contradicting settings. DataError: see `read_prompts`.
    """
    beam_groups(settings.method, settings.num_candidates, settings.beams_per_group)  # refuse before anything is loaded
    stage = open_generation(output_dir, stage="generate", prompts=prompts, settings=settings, seed=seed, splits=splits)
    if not stage.is_complete:
        _generate(stage, read_prompts(prompts, splits=splits), settings, seed)
    return stage.folder


def candidate_set(row: PromptRow, hypotheses: Sequence[Hypothesis], generator: Generator) -> CandidateSet:
    """The completions of one prompt, best first; identical texts become one, which keeps the best one's numbers."""
    kept: dict[str, Hypothesis] = {}
    copies: dict[str, int] = {}
    for one in sorted(hypotheses, key=lambda hypothesis: -hypothesis.search_score):
        text = generator.text(one.ids)
        kept.setdefault(text, one)
        copies[text] = copies.get(text, 0) + 1
    return CandidateSet(
        id=row.id,
        prompt=row.prompt,
        completions=tuple(kept),
        sum_logps=tuple(one.sum_logp for one in kept.values()),
        n_tokens=tuple(len(one.ids) for one in kept.values()),
        search_scores=tuple(one.search_score for one in kept.values()),
        copies=tuple(copies.values()),
        references=row.references,
        group=row.group,
        split=row.split,
        strategy=row.strategy,
    )


def _generate(stage: Stage, rows: list[PromptRow], settings: GenerateSettings, seed: int) -> None:
    generator, rows, plan = planned(rows, settings, copies=settings.num_candidates, seed=seed)

    def candidates_of(batch: Sequence[int]) -> list[CandidateSet]:
        found = completions(
            generator,
            [plan.prompt_ids[row] for row in batch],
            [rows[row].id for row in batch],
            method=settings.method,
            n=settings.num_candidates,
            beams_per_group=settings.beams_per_group,
            seed=seed,
            diversity_penalty=settings.diversity_penalty if settings.method == "diverse_beam" else 0.0,
            max_new_tokens=settings.max_new_tokens,
            min_new_tokens=settings.min_new_tokens,
            no_repeat_ngram_size=settings.no_repeat_ngram_size,
            repetition_penalty=settings.repetition_penalty,
            length_penalty=settings.length_penalty,
            early_stopping=EARLY_STOPPING[settings.early_stopping],
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_p=settings.top_p,
            trim_unfinished=settings.trim_unfinished,
            prefixes=[plan.prefixes[row] for row in batch],
        )
        return [candidate_set(rows[row], one, generator) for row, one in zip(batch, found, strict=True)]

    map_batches(
        stage.scratch_dir, plan.batches, candidates_of, stage.path(CANDIDATES_FILE), label="Generating candidates"
    )
    _write_results(stage, plan, settings)
    stage.finish()


def _write_results(stage: Stage, plan: Plan, settings: GenerateSettings) -> None:
    """Figures about the run: how many candidates differ, how long they are, what was cut."""
    n_kept = n_merged = n_tokens = n_at_limit = 0
    for row in read_jsonl(stage.path(CANDIDATES_FILE), CandidateSet):
        n_kept += len(row.completions)
        n_merged += sum(row.copies) - len(row.copies)
        n_tokens += sum(row.n_tokens)
        n_at_limit += sum(number == settings.max_new_tokens for number in row.n_tokens)
    n_prompts = len(plan.prompt_ids)
    results = [
        count("candidates_per_prompt", "candidates", n_kept / n_prompts, n_prompts, "distinct texts"),
        count("merged_candidates", "candidates", n_merged, n_prompts, "count"),
        count("tokens_per_candidate", "candidates", n_tokens / n_kept, n_kept, "end of sequence counted"),
        count("at_limit", "candidates", n_at_limit / n_kept, n_kept, "share with max_new_tokens tokens"),
        count("cut_prompts", "candidates", plan.n_cut, n_prompts, "count"),
        count("padding_share", "candidates", plan.padding_share, n_prompts, "share of prompt tokens"),
    ]
    write_json(stage.path("results.json"), results)
