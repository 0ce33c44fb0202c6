"""What people said: the distribution of their answers, how far they agree, and the preference model against them."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from accord.evaluation.ratings import RatedScale, interval_of_scale
from accord.evaluation.ratings_model import ALL
from accord.evaluation.tables import null_as_nan
from accord.json_files import read_json
from accord.records import Measurement
from accord.report import figures
from accord.report.document import Figure, ReportInputs, Section
from accord.report.settings import ReportSettings
from accord.report.tables import Cell, Table, signature_field
from accord.statistics.resampling import Interval

RATINGS_FILE = "ratings.json"


def ratings_section(inputs: ReportInputs, settings: ReportSettings) -> Section | None:  # noqa: ARG001 -- one signature
    """The answers of people; their means stand in the results, beside all other metrics."""
    if inputs.evaluation is None or not (inputs.evaluation / RATINGS_FILE).is_file():
        return None
    document = read_json(inputs.evaluation / RATINGS_FILE)
    scales = msgspec.convert(null_as_nan(document["scales"]), list[RatedScale])
    model = document["model"]
    n_annotators = max(scale.n_annotators for scale in scales)
    lead = (
        f"{n_annotators} annotators judged the texts blind. Means and tests are among the results above; here is how "
        "their answers are spread, and how far they agree."
    )
    return Section(
        "ratings",
        "What people said",
        lead,
        figures=(*(_distribution(scale) for scale in scales), *_reliability(model)),
        tables=(_agreement(scales), *_model_tables(model)),
    )


def _distribution(scale: RatedScale) -> Figure:
    svg = figures.shares_figure(scale.counts, scale.labels, xlabel="share of the answers")
    totals = ", ".join(f"{system} {sum(counts)}" for system, counts in scale.counts.items())
    return Figure(_plain(scale.name), svg, f"Answers: {totals}. {scale.labels[0]} is the palest.")


def _agreement(scales: Sequence[RatedScale]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (_plain(scale.name), scale.level, scale.n_ratings, scale.n_annotators, interval_of_scale(scale))
        for scale in scales
    ]
    caption = "Alpha is 1 for perfect agreement and 0 for agreement by chance; bootstrap over prompts."
    columns = ("question", "level", "answers", "annotators", "Krippendorff's alpha")
    return Table("rating_agreement", "How far the annotators agree", columns, tuple(rows), caption)


# -- the preference model -----------------------------------------------------------------------------------------


def _reliability(model: Mapping[str, Any] | None) -> list[Figure]:
    found = []
    for name, curve in (model or {}).get("reliability", {}).items():
        svg = figures.scatter_figure(
            {"bins of equal mass": (curve["predicted"], curve["observed"])},
            xlabel="predicted acceptance",
            ylabel=f"rated: {_plain(name)}",
        )
        caption = "On the diagonal the preference model says of generated texts what people say."
        found.append(Figure(f"Predicted and rated: {_plain(name)}", svg, caption))
    return found


def _model_tables(model: Mapping[str, Any] | None) -> list[Table]:
    if model is None:
        return []
    measured = _measurements(model["measurements"])
    systems = list(dict.fromkeys(row.system for row in measured))
    names = list(dict.fromkeys(row.name for row in measured))
    by_cell: dict[tuple[str, str], Cell] = {
        (row.name, row.system): Interval(row.value, row.low, row.high) for row in measured
    }
    rows = tuple((_plain(name), *(by_cell.get((name, system)) for system in systems)) for name in names)
    caption = (
        "Spearman: rank correlation of predicted acceptance with the mean rating of a text. "
        f"Predicted minus rated: above 0 the model is too kind. {ALL}: differences between systems count too."
    )
    found = [Table("rating_model", "The preference model on generated texts", ("", *systems), rows, caption)]
    powered = _measurements(model["powered"])
    if powered:
        found.append(_powered_table(powered))
    return found


def _powered_table(powered: Sequence[Measurement]) -> Table:
    rows = tuple(
        (
            _plain(row.name),
            row.system,
            Interval(row.value, row.low, row.high),
            signature_field(row.signature, "n"),
        )
        for row in powered
    )
    caption = (
        "powered: the ratings, with the predictions for texts that nobody rated (prediction-powered inference, tuned "
        "weight); rated: the ratings alone. Intervals are for new prompts; n: prompts rated + not rated."
    )
    return Table("rating_powered", "Few ratings, many predictions", ("estimate", "system", "share", "n"), rows, caption)


def _measurements(rows: Sequence[Mapping[str, Any]]) -> list[Measurement]:
    return msgspec.convert(null_as_nan(rows), list[Measurement])


def _plain(name: str) -> str:
    return name.replace("_", " ")
