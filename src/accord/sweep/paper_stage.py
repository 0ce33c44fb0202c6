"""What a paper file's page is made from: numbers of all generators in one folder, without paths.

paper.json: layout, generators and rows. results.json and comparisons.json: those of the generators' evaluations, each
with its generator, Holm's correction made again over all tests. seeds.jsonl: every metric under every seed.
candidates.jsonl: per prompt the highest and lowest score and how likelihood and score agree. premise.json: the same as
means with intervals. curves.jsonl: training curves with their seconds. cases.jsonl: what every row wrote for the first
prompts.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from accord.artifacts import TIMING_FILE, Stage, open_stage
from accord.evaluation.evaluate import measure_metrics, metric_inputs, metric_names
from accord.evaluation.measure import Comparison, corrected
from accord.evaluation.outputs import read_outputs
from accord.evaluation.settings import EvaluateSettings
from accord.evaluation.tables import null_as_nan
from accord.json_files import read_json, read_jsonl, read_numbered, write_json, write_jsonl
from accord.randomness import keyed_rng
from accord.records import CandidateSet, Measurement, Output
from accord.report.folders import prompt_text
from accord.statistics.proper_scores import spearman
from accord.statistics.resampling import bootstrap_interval, describe_interval
from accord.sweep.paper_plan import PaperPlan, system_name

VERSION = 1
N_RESAMPLES = 1000
LEVEL = 0.95
N_CASES = 12
PREMISE = ("highest", "lowest", "spread", "rank_correlation")


class PaperRow(NamedTuple):
    """A finished row: its settings, its seeds and what it wrote under all of them (None: a row of scores alone).

    `scored`: the candidates with its preference model's scores, `trained`: the calibration; of the first seed.
    """

    decoding: str
    row: str
    values: Mapping[str, Any]
    seeds: tuple[int, ...]
    outputs: Path | None
    scored: Path | None = None
    trained: Path | None = None

    @property
    def system(self) -> str:
        """What the row is called in the evaluation of its generator."""
        return system_name(self.decoding, self.row)


class PaperGenerator(NamedTuple):
    """The finished rows of one generator and their evaluation under `evaluate`."""

    name: str
    published: str
    data_seed: int
    rows: tuple[PaperRow, ...]
    evaluation: Path
    evaluate: EvaluateSettings


def paper_stage(
    plan: PaperPlan, generators: Sequence[PaperGenerator], failed: Sequence[str], *, output_dir: Path
) -> Path:
    """Write the folder that the page is made from."""
    described = {
        "layout": plan.layout,
        "scale": plan.scale,
        "failed": list(failed),
        "generators": [_describe(generator) for generator in generators],
    }
    stage = open_stage(
        output_dir, stage="paper", version=VERSION, settings=described, seed=0, inputs=_inputs(generators)
    )
    if stage.is_complete:
        return stage.folder
    _write_results(stage, generators)
    if plan.ratings is None:
        write_jsonl(stage.path("seeds.jsonl"), (row for found in generators for row in seed_rows(found)))
    write_jsonl(stage.path("cases.jsonl"), (row for found in generators for row in case_rows(found)))
    spread = [row for found in generators for row in candidate_rows(found)]
    write_jsonl(stage.path("candidates.jsonl"), spread)
    write_json(stage.path("premise.json"), premise(spread))
    write_jsonl(stage.path("curves.jsonl"), (row for found in generators for row in curve_rows(found)))
    write_json(stage.path("paper.json"), described)
    stage.finish()
    return stage.folder


def _describe(generator: PaperGenerator) -> dict[str, Any]:
    rows = [
        {"decoding": row.decoding, "row": row.row, "values": dict(row.values), "seeds": list(row.seeds)}
        | {"system": row.system, "written": row.outputs is not None}
        for row in generator.rows
    ]
    return {"name": generator.name, "published": generator.published, "data_seed": generator.data_seed, "rows": rows}


def _inputs(generators: Sequence[PaperGenerator]) -> dict[str, Path]:
    """Every folder that is read, under a name of its own."""
    found: dict[str, Path] = {}
    for generator in generators:
        found[f"{generator.name}: evaluation"] = generator.evaluation
        for row in generator.rows:
            folders = {"outputs": row.outputs, "scored": row.scored, "trained": row.trained}
            found |= {
                f"{generator.name}: {row.system}: {role}": folder
                for role, folder in folders.items()
                if folder is not None
            }
    return found


# -- measurements -----------------------------------------------------------------------------------------------


def _write_results(stage: Stage, generators: Sequence[PaperGenerator]) -> None:
    results = []
    comparisons: list[tuple[str, Comparison]] = []
    for generator in generators:
        read = null_as_nan(read_json(generator.evaluation / "results.json"))
        results += [{"generator": generator.name} | row for row in read if " - " not in row["system"]]
        tests = null_as_nan(read_json(generator.evaluation / "comparisons.json"))
        comparisons += [(generator.name, row) for row in msgspec.convert(tests, list[Comparison])]
    again = corrected([row for _, row in comparisons]) if comparisons else []
    write_json(stage.path("results.json"), results)
    tested = [
        {"generator": name} | msgspec.structs.asdict(row) for (name, _), row in zip(comparisons, again, strict=True)
    ]
    write_json(stage.path("comparisons.json"), tested)


def seed_rows(generator: PaperGenerator) -> Iterator[dict[str, Any]]:
    """{generator, system, seed, metric: value}: the evaluation's metrics of every seed by itself."""
    table = read_outputs([row.outputs for row in generator.rows if row.outputs is not None])
    measured = measure_metrics(table, metric_names(generator.evaluate), metric_inputs(table, generator.evaluate))
    for system in table.systems:
        for place, seed in enumerate(table.seeds[system]):
            row: dict[str, Any] = {"generator": generator.name, "system": system, "seed": seed}
            for metric in measured:
                if metric.statistics:
                    statistics = metric.statistics[system][place]
                    defined = statistics[~np.isnan(statistics).any(axis=1)]
                    row[metric.name] = float(metric.combine(defined.sum(axis=0, keepdims=True))[0])
            yield row


def case_rows(generator: PaperGenerator, n_cases: int = N_CASES) -> Iterator[dict[str, Any]]:
    """The first prompts, not selected: what every row wrote under its first seed, with its numbers for the prompt."""
    path = generator.evaluation / "per_item.jsonl"
    numbers = {
        (row["id"], row["system"]): {name: value for name, value in row.items() if name not in ("id", "system")}
        for _, row in read_numbered(path, dict[str, Any], name="per_item")
    }
    texts: dict[str, dict[str, Output]] = {}
    for row in generator.rows:
        for output in [] if row.outputs is None else read_jsonl(row.outputs / "outputs.jsonl", Output):
            if output.seed == row.seeds[0]:
                texts.setdefault(output.id, {}).setdefault(row.system, output)
    for prompt_id, by_system in list(texts.items())[:n_cases]:
        first = next(iter(by_system.values()))
        yield {
            "generator": generator.name,
            "id": prompt_id,
            "prompt": prompt_text(first.prompt),
            "references": list(first.references),
            "texts": [
                {"system": system, "completion": output.completion, "numbers": numbers.get((prompt_id, system), {})}
                for system, output in by_system.items()
            ],
        }


# -- candidates and training ------------------------------------------------------------------------------------


def candidate_rows(generator: PaperGenerator) -> Iterator[dict[str, Any]]:
    """Per prompt and row: highest and lowest score among the candidates, and Spearman's correlation of a candidate's
    log-probability per token with its score; rows that share their scores appear once, under the first one's name."""
    seen: set[Path] = set()
    for row in generator.rows:
        if row.scored is None or row.scored in seen:
            continue
        seen.add(row.scored)
        for found in read_jsonl(row.scored / "candidates.jsonl", CandidateSet):
            scores = np.array(found.scores or ())
            if len(scores) > 1:
                logps = np.array(found.sum_logps) / np.array(found.n_tokens)
                yield {
                    "generator": generator.name,
                    "row": row.row,
                    "id": found.id,
                    "group": found.group or found.id,
                    "n": len(scores),
                    "highest": float(scores.max()),
                    "lowest": float(scores.min()),
                    "spread": float(np.ptp(scores)),
                    "rank_correlation": spearman(logps, scores),
                }


def premise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means over prompts of what `candidate_rows` gives, with intervals over groups, by generator and row."""
    by_row: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        by_row.setdefault((row["generator"], row["row"]), []).append(row)
    found = []
    for (generator, name), members in by_row.items():
        clusters = np.array([row["group"] for row in members])
        for metric in PREMISE:
            values = np.array([row[metric] for row in members], dtype=np.float64)
            interval = bootstrap_interval(
                values,
                clusters=clusters,
                n_resamples=N_RESAMPLES,
                level=LEVEL,
                rng=keyed_rng(0, "paper", "premise", metric),
            )
            signature = describe_interval(n_resamples=N_RESAMPLES, level=LEVEL, clusters="group")
            n = int(np.sum(~np.isnan(values)))
            measurement = Measurement(metric, name, *interval, n, f"{metric}|candidates|{signature}")
            found.append({"generator": generator} | msgspec.structs.asdict(measurement))
    return found


def curve_rows(generator: PaperGenerator) -> Iterator[dict[str, Any]]:
    """The rows of every training curve with their generator, their row and the seconds of the steps before."""
    seen: set[Path] = set()
    for row in generator.rows:
        if row.trained is not None and row.trained not in seen:
            seen.add(row.trained)
            timing_path = row.trained / TIMING_FILE
            timings = {found["step"]: found for found in _rows(timing_path)} if timing_path.is_file() else {}
            for found in _rows(row.trained / "curve.jsonl"):
                yield {"generator": generator.name, "row": row.row} | found | timings.get(found["step"], {})


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    return (found for _, found in read_numbered(path, dict[str, Any], name=path.stem))
