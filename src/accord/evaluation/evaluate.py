"""`accord evaluate`: what several systems wrote for the same prompts, measured, with intervals and comparisons."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from accord.artifacts import Stage, hash_input, open_stage
from accord.errors import ConfigError, DataError
from accord.evaluation.measure import (
    SURE,
    Comparison,
    Measured,
    Resampling,
    compare_systems,
    corrected,
    difference_measurements,
    measure_levels,
    prompt_numbers,
    with_holm,
)
from accord.evaluation.metrics.acceptance import predictor
from accord.evaluation.metrics.all import METRICS, PAIRED
from accord.evaluation.metrics.metric import Metric, MetricInputs
from accord.evaluation.metrics.texts import Texts
from accord.evaluation.metrics.vectors import vectors_name
from accord.evaluation.outputs import (
    OutputTable,
    build_output_table,
    count_outputs,
    parse_comparisons,
    read_outputs,
    read_values,
    seed_cells,
    smallest_n_samples,
)
from accord.evaluation.rated import Ratings, read_ratings
from accord.evaluation.ratings import (
    Aspect,
    RatingResampling,
    aspects,
    compare_ratings,
    count_ratings,
    describe_scales,
    measure_ratings,
    prompt_means,
)
from accord.evaluation.ratings_model import measure_model
from accord.evaluation.settings import EvaluateSettings
from accord.evaluation.tables import build_sheet, write_tables
from accord.json_files import write_json, write_jsonl
from accord.pretrained import content_name
from accord.progress import progress
from accord.records import Measurement, Output
from accord.statistics.significance import enough_resamples

VERSION = 6
CHARACTERS_PER_CHUNK = 1 << 18


def evaluate_stage(
    outputs: Sequence[Path],
    *,
    output_dir: Path,
    settings: EvaluateSettings,
    seed: int,
    values: Sequence[Path] = (),
    ratings: Sequence[Path] = (),
) -> Path:
    """Measure systems and write results.json, comparisons.json, per_item.jsonl, outputs.json and the table as
    table.md, table.tex, table.html and table.csv; of ratings also ratings.json.

    Args:
        outputs: outputs.jsonl files or `accord decode` folders; together, every system on the same prompts.
        values: JSONL files with further numbers per output; each name becomes a metric.
        ratings: exports of `accord rate`, whose aspects become metrics; they do without outputs.

    Returns:
        The finished folder.
    """
    stage = _open(outputs, values, ratings, output_dir=output_dir, settings=settings, seed=seed)
    if stage.is_complete:
        return stage.folder
    table = read_outputs(outputs) if outputs else None
    rated = read_ratings(ratings) if ratings else None
    counts = {**(count_ratings(rated) if rated else {}), **(count_outputs(table) if table else {})}
    pairs = parse_comparisons(list(counts), compare=settings.compare, baseline=settings.baseline)
    found = aspects(rated) if rated else []
    rated_pairs = [pair for pair in pairs if rated and set(pair) <= {text.system for text in rated.texts}]
    n_of_ratings = len(found) * len(rated_pairs)
    parts = []
    n_of_outputs = 0
    if table is not None:
        parts.append(_measure_outputs(table, values, pairs, settings, seed=seed, n_other_tests=n_of_ratings))
        n_of_outputs = len(parts[0].comparisons)
    if rated is not None:
        n_tests = n_of_outputs + n_of_ratings
        part, document = _measure_ratings(rated, found, table, rated_pairs, settings, seed=seed, n_tests=n_tests)
        parts.append(part)
        write_json(stage.path("ratings.json"), document)
    comparisons = corrected([row for part in parts for row in part.comparisons])
    differences = with_holm([row for part in parts for row in part.differences], comparisons)
    measurements = [*(row for part in parts for row in part.levels), *differences]
    write_jsonl(stage.path("per_item.jsonl"), _joined(part.per_item for part in parts))
    write_json(stage.path("outputs.json"), counts)
    write_json(stage.path("comparisons.json"), comparisons)
    write_tables(stage.folder, build_sheet(measurements, comparisons, counts=counts), measurements, comparisons)
    write_json(stage.path("results.json"), measurements)
    stage.finish()
    return stage.folder


class _Part(NamedTuple):
    """What was found of outputs or of ratings: levels, comparisons with their rows, and the numbers per prompt."""

    levels: list[Measurement]
    comparisons: list[Comparison]
    differences: list[Measurement]
    per_item: Iterable[dict[str, Any]]


def _measure_outputs(
    table: OutputTable,
    values: Sequence[Path],
    pairs: Sequence[tuple[str, str]],
    settings: EvaluateSettings,
    *,
    seed: int,
    n_other_tests: int,
) -> _Part:
    names = metric_names(settings)
    written = [pair for pair in pairs if set(pair) <= set(table.systems)]
    _check_pairs(names, written)
    measured = [*measure_metrics(table, names, metric_inputs(table, settings)), *measure_values(table, values)]
    how = resampling(table, settings, seed=seed)._replace(n_other_tests=n_other_tests)
    comparisons = compare_systems(measured, written, how=how)
    differences = difference_measurements(comparisons, measured, how=how)
    return _Part(measure_levels(measured, how=how), comparisons, differences, per_item_rows(table, measured))


def _measure_ratings(
    ratings: Ratings,
    found: Sequence[Aspect],
    table: OutputTable | None,
    pairs: Sequence[tuple[str, str]],
    settings: EvaluateSettings,
    *,
    seed: int,
    n_tests: int,
) -> tuple[_Part, dict[str, Any]]:
    """The aspects as metrics, and what ratings.json says beside them; `n_tests`: of the whole table."""
    how = RatingResampling(enough_resamples(settings.n_resamples, n_tests=n_tests, alpha=SURE), settings.level, seed)
    comparisons, differences = compare_ratings(found, pairs, how=how)
    per_item = ({"id": prompt, "system": system, name: mean} for prompt, system, name, mean in prompt_means(found))
    document: dict[str, Any] = {"scales": describe_scales(ratings, how=how), "model": None}
    if settings.preference_model is not None:
        folder = Path(settings.preference_model)
        model = measure_model(ratings, predict=predictor(folder), table=table, name=hash_input(folder)[:12], how=how)
        document["model"] = model._asdict()
    return _Part(measure_ratings(found, how=how), comparisons, differences, per_item), document


def _joined(parts: Iterable[Iterable[dict[str, Any]]]) -> Iterable[dict[str, Any]]:
    """The rows of all parts, one per prompt and system."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for part in parts:
        for row in part:
            rows.setdefault((row["id"], row["system"]), {}).update(row)
    return rows.values()


class TextScores(NamedTuple):
    """One metric of many texts: of all together, and [N] of each by itself; nan where undefined."""

    value: float
    per_text: np.ndarray
    signature: str


def evaluate_texts(
    completions: Sequence[str], references: Sequence[Sequence[str]], *, settings: EvaluateSettings
) -> dict[str, TextScores]:
    """The metrics of `settings.metrics` for texts in memory, without files and without intervals.

    Args:
        completions: [N] texts. references: [N] each text's references; none makes overlap metrics undefined there.

    Raises:
        ConfigError: a name that is no metric of single systems.
        DataError: not as many sets of references as texts, or no texts.
    """
    if len(completions) != len(references):
        raise DataError(
            f"{len(completions)} texts and {len(references)} sets of references. Expected one set per text."
        )
    rows = [
        Output(id=str(n), prompt="", completion=text, system="texts", references=tuple(found))
        for n, (text, found) in enumerate(zip(completions, references, strict=True))
    ]
    table = build_output_table(rows)
    names = metric_names(settings)
    _check_pairs(names, [])
    scores = {}
    for metric in measure_metrics(table, names, metric_inputs(table, settings)):
        statistics = metric.statistics["texts"][0]
        defined = statistics[~np.isnan(statistics).any(axis=1)]
        value = float(metric.combine(defined.sum(axis=0, keepdims=True))[0])
        scores[metric.name] = TextScores(value, prompt_numbers(metric)["texts"], metric.signature)
    return scores


def metric_names(settings: EvaluateSettings) -> list[str]:
    """The metrics asked for, each once, acceptance where a preference model is given, and what others are made of.

    Raises:
        ConfigError: a name that is no metric, or acceptance without a preference model.
    """
    names = list(dict.fromkeys(settings.metrics))
    if settings.preference_model is not None and "acceptance" not in names:
        names.insert(0, "acceptance")
    for name in names:
        if name not in METRICS and name not in PAIRED:
            raise ConfigError(f'Unknown metric "{name}". Expected one of: {", ".join([*METRICS, *PAIRED])}.')
    needed = [part for name in names for part in PAIRED.get(name, ())]
    return list(dict.fromkeys([*names, *needed]))


def metric_inputs(table: OutputTable, settings: EvaluateSettings) -> MetricInputs:
    """What the metrics need to know beside the texts."""
    return MetricInputs(
        n_samples=smallest_n_samples(table),
        references=_references(table),
        preference_model=settings.preference_model,
        tokenize=settings.tokenize,
        word_vectors=settings.word_vectors,
        bertscore_model=settings.bertscore_model,
        bertscore_layer=settings.bertscore_layer,
        bertscore_idf=settings.bertscore_idf,
    )


def resampling(table: OutputTable, settings: EvaluateSettings, *, seed: int) -> Resampling:
    """How the intervals and p-values of these outputs are made."""
    return Resampling(
        table.clusters,
        settings.n_resamples,
        settings.n_randomisations,
        settings.level,
        seed,
        test=settings.test,
        seeds=table.seeds,
    )


def measure_metrics(table: OutputTable, names: Sequence[str], inputs: MetricInputs) -> list[Measured]:
    """The statistics of each named metric for every system and seed.

    Prompts go through all metrics in chunks, so that texts are tokenised once and memory does not grow with them.
    """
    metrics = [METRICS[name](inputs) for name in names if name in METRICS]
    runs = [(system, seed) for system in table.systems for seed in table.seeds[system]]
    found: dict[tuple[str, str, int], list[np.ndarray]] = {
        (metric.name, *run): [] for metric in metrics for run in runs
    }
    with progress("Measuring", len(metrics) * len(table.prompt_ids)) as advance:
        for prompts in _chunks(table):
            texts = Texts([cell for system, seed in runs for cell in seed_cells(table, system, seed, prompts)])
            for metric in metrics:
                parts = np.split(metric.per_prompt(texts), len(runs))
                for run, part in zip(runs, parts, strict=True):
                    found[(metric.name, *run)].append(part)
                advance(len(parts[0]))

    def of_system(metric: Metric, system: str) -> np.ndarray:
        return np.stack([np.concatenate(found[metric.name, system, seed]) for seed in table.seeds[system]])

    measured = [
        Measured(metric.name, metric.signature, {s: of_system(metric, s) for s in table.systems}, metric.combine)
        for metric in metrics
    ]
    return [*measured, *(Measured(name, "", {}) for name in names if name in PAIRED)]


def measure_values(table: OutputTable, paths: Sequence[Path]) -> list[Measured]:
    """The numbers that came in files, as metrics: mean over samples, then over prompts, then over seeds."""
    found = read_values(paths, table, reserved=[*METRICS, *PAIRED])
    return [
        Measured(
            name,
            "values|mean over samples",
            {system: np.stack([means, np.ones(means.shape)], axis=2) for system, means in by_system.items()},
        )
        for name, by_system in found.items()
    ]


def per_item_rows(table: OutputTable, measured: Sequence[Measured]) -> Iterator[dict[str, Any]]:
    """{"id", "system", metric: value} for every prompt and system; null where undefined."""
    numbers = {metric.name: prompt_numbers(metric) for metric in measured if metric.statistics}
    for position, prompt_id in enumerate(table.prompt_ids):
        for system in table.systems:
            row: dict[str, Any] = {"id": prompt_id, "system": system}
            row |= {name: float(by_system[system][position]) for name, by_system in numbers.items()}
            yield row


# -- steps ------------------------------------------------------------------------------------------------------


def _references(table: OutputTable) -> list[tuple[str, ...]]:
    """Each prompt's references; a system that stands for them may come without."""
    cells = zip(*(table.outputs[system] for system in table.systems), strict=True)
    return [next((cell[0].references for cell in found if cell[0].references), ()) for found in cells]


def _check_pairs(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> None:
    for name in names:
        if name in PAIRED and not pairs:
            raise ConfigError(
                f'Metric "{name}" compares two systems, found no comparison. Give --compare or --baseline.'
            )


def _chunks(table: OutputTable) -> Iterator[slice]:
    """Runs of prompts with about CHARACTERS_PER_CHUNK characters of completions and references."""
    start = size = 0
    for position in range(len(table.prompt_ids)):
        cells = [table.outputs[system][position] for system in table.systems]
        size += sum(len(output.completion) for cell in cells for output in cell)
        size += sum(map(len, cells[0][0].references))
        if size >= CHARACTERS_PER_CHUNK:
            yield slice(start, position + 1)
            start, size = position + 1, 0
    if start < len(table.prompt_ids):
        yield slice(start, len(table.prompt_ids))


def _open(
    outputs: Sequence[Path],
    values: Sequence[Path],
    ratings: Sequence[Path],
    *,
    output_dir: Path,
    settings: EvaluateSettings,
    seed: int,
) -> Stage:
    if not outputs and not ratings:
        raise ConfigError("No outputs to evaluate. Give outputs.jsonl files or folders of `accord decode`.")
    inputs: dict[str, Path | str] = {f"outputs {n}": path for n, path in enumerate(outputs)}
    inputs |= {f"values {n}": path for n, path in enumerate(values)}
    inputs |= {f"ratings {n}": path for n, path in enumerate(ratings)}
    if settings.preference_model is not None:
        inputs["preference_model"] = Path(settings.preference_model)
    if any(name.startswith("bertscore") for name in settings.metrics):
        inputs["bertscore_model"] = content_name(settings.bertscore_model)
    if any(name.startswith("embedding") for name in settings.metrics):
        inputs["word_vectors"] = vectors_name(settings.word_vectors)
    return open_stage(output_dir, stage="evaluate", version=VERSION, settings=settings, seed=seed, inputs=inputs)
