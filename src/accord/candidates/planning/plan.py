"""`accord multiesc plan`: each prompt gets the strategy that the lookahead planner chooses."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from accord.artifacts import open_stage
from accord.candidates.generators.multiesc import known_strategy
from accord.candidates.planning.fit_feedback import (
    feedback_input,
    load_feedback_model,
    predicted_feedback,
    read_sequences,
)
from accord.candidates.planning.lookahead import (
    Beam,
    Transitions,
    past_strategies,
    planned_strategy,
    strategy_scores,
)
from accord.candidates.planning.sequences import sequence_of
from accord.candidates.prompts import read_prompts
from accord.data.prepared import PROMPTS_FILE
from accord.errors import DataError
from accord.json_files import write_json, write_jsonl
from accord.progress import progress
from accord.records import CandidateSet, PromptRow

VERSION = 1
BATCH_SIZE = 32


def plan_stage(prompts: Path, *, output_dir: Path, candidates: Path, feedback: Path, seed: int) -> Path:
    """Write prompts.jsonl: the prompts that have beams, each with its planned strategy; and summary.json.

    Args:
        prompts: JSONL of PromptRow, or a prepared folder; its rows of split "train" tell how strategies follow each
            other.
        candidates: beams of a strategy-sequence generator for the prompts to plan, matched by id.
        feedback: folder of `accord multiesc feedback`.

    Raises:
        DataError: beams for a prompt that is not there, or without any strategy.
    """
    inputs: dict[str, Path | str] = {"prompts": prompts, "candidates": candidates, "feedback": feedback}
    stage = open_stage(output_dir, stage="plan", version=VERSION, settings={}, seed=seed, inputs=inputs)
    if stage.is_complete:
        return stage.folder
    rows = read_prompts(prompts)
    planned = planned_rows(rows, read_sequences(candidates), feedback)
    gold = {row.id: known_strategy(row.strategy) for row in rows if row.strategy is not None}
    n_same = sum(row.strategy == gold.get(row.id) for row in planned)
    write_jsonl(stage.path(PROMPTS_FILE), planned)
    write_json(stage.path("summary.json"), {"n_planned": len(planned), "n_as_annotated": n_same})
    stage.finish()
    return stage.folder


def planned_rows(rows: Sequence[PromptRow], beams: Sequence[CandidateSet], feedback: Path) -> list[PromptRow]:
    """The rows of the prompts that have beams, in the beams' order, each with its planned strategy."""
    model, tokenizer = load_feedback_model(feedback)
    transitions = Transitions([row for row in rows if row.split == "train"])
    by_id = {row.id: row for row in rows}
    found = []
    with progress("Planning", len(beams)) as advance:
        for one in beams:
            if one.id not in by_id:
                raise DataError(f"beams for {one.id!r}, which is no prompt. Expected those of the same prompts.")
            sequences = [
                Beam(sequence_of(text), logp) for text, logp in zip(one.completions, one.sum_logps, strict=True)
            ]
            told = [beam for beam in sequences if beam.strategies]
            if not told:
                raise DataError(
                    f"the beams for {one.id!r} hold no strategy, such as {one.completions[0][:60]!r}. Expected "
                    "candidates of a generator tuned on the prompts of `accord multiesc sequences`."
                )
            inputs = [feedback_input(one.prompt, beam.strategies, tokenizer, model.config) for beam in told]
            row = by_id[one.id]
            history = past_strategies(row.prompt)
            scores = strategy_scores(history, told, predicted_feedback(model, inputs, BATCH_SIZE), transitions)
            found.append(msgspec.structs.replace(row, strategy=planned_strategy(scores)))
            advance(1)
    return found
