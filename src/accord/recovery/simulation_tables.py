"""What the simulation study found, as measurements, tables and sentences."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from scipy.stats import t

from accord.records import Measurement
from accord.recovery.settings import SimulatedCell, SimulationSettings
from accord.statistics.resampling import Interval

CHECKPOINTS = ("selected", "last")
TITLES: Mapping[str, str] = {
    "mse": "Squared error of q against the true shares",
    "spearman": "Spearman correlation of q with the true shares",
    "kl": "KL(ρ ‖ q) in nats",
    "log_loss": "Expected log-loss of a fresh vote, in nats",
}
HIGHER_IS_BETTER = frozenset({"spearman"})
NOISY_CONSENSUS = "sharp+noisy15"


class Outcome(msgspec.Struct, frozen=True):
    """One head of the study (one line of runs.jsonl): its figures at the selected and at the last checkpoint."""

    cell: str
    contender: str
    seed: int
    selected: Mapping[str, float | None]
    last: Mapping[str, float | None]
    best_step: int


class Place(NamedTuple):
    """Where a figure stands: cell, checkpoint and metric; each contender has one there."""

    cell: str
    checkpoint: str
    metric: str


class Margin(NamedTuple):
    """The best proper loss of a cell and the best other: by how much the first has the lower squared error."""

    cell: str
    proper: str
    other: str
    difference: Interval


Figures = Mapping[Place, Mapping[str, Interval]]


def simulation_measurements(outcomes: Sequence[Outcome]) -> list[Measurement]:
    """Mean over seeds of every figure, with a t interval for new seeds."""
    values: dict[tuple[Place, str], list[float]] = {}
    for outcome in outcomes:
        for checkpoint, figures in (("selected", outcome.selected), ("last", outcome.last)):
            for metric, value in figures.items():
                key = Place(outcome.cell, checkpoint, metric), outcome.contender
                values.setdefault(key, []).append(np.nan if value is None else value)
    return [
        Measurement(
            place.metric,
            contender,
            *seed_interval(np.array(found)),
            n=len(found),
            signature=f"{place.metric}|{place.cell}|{place.checkpoint}|mean over seeds|ci:t@0.95/seed",
        )
        for (place, contender), found in values.items()
    ]


def seed_interval(values: np.ndarray, *, level: float = 0.95) -> Interval:
    """Mean and t interval of the defined values; nan bounds with fewer than two."""
    defined = values[~np.isnan(values)]
    if len(defined) < 2:
        return Interval(float(defined.mean()) if len(defined) else np.nan, np.nan, np.nan)
    half = t.ppf((1 + level) / 2, len(defined) - 1) * defined.std(ddof=1) / np.sqrt(len(defined))
    return Interval(float(defined.mean()), float(defined.mean() - half), float(defined.mean() + half))


def figures_of(measurements: Iterable[Measurement]) -> Figures:
    """The measurements by place and contender."""
    found: dict[Place, dict[str, Interval]] = {}
    for row in measurements:
        metric, cell, checkpoint, *_ = row.signature.split("|")
        place = Place(cell, checkpoint, metric)
        found.setdefault(place, {})[row.system] = Interval(row.value, row.low, row.high)
    return found


def best_contender(found: Mapping[str, Interval], among: Sequence[str], *, highest: bool = False) -> str | None:
    """Who has the lowest (or highest) mean; the one named first on a tie, None where nobody's is defined."""
    defined = [name for name in among if name in found and not np.isnan(found[name].value)]
    if not defined:
        return None
    return (max if highest else min)(defined, key=lambda name: found[name].value)


def count_best(
    figures: Figures, cells: Sequence[SimulatedCell], among: Sequence[str], *, metric: str, checkpoint: str
) -> Counter[str]:
    """In how many cells each contender is the best."""
    highest = metric in HIGHER_IS_BETTER
    winners = (best_contender(figures[Place(cell.name, checkpoint, metric)], among, highest=highest) for cell in cells)
    return Counter(name for name in winners if name is not None)


def study_sentences(figures: Figures, settings: SimulationSettings) -> list[str]:
    """What the study says, in words, with its counts."""
    cells = settings.study_cells
    everybody, field = [contender.name for contender in settings.contenders], own_field(settings)
    return [
        _count_sentence(figures, cells, field, settings.proper),
        *([_count_sentence(figures, cells, everybody, settings.proper)] if field != everybody else []),
        *_noisy_sentences(figures, cells, field),
    ]


def proper_margins(outcomes: Sequence[Outcome], settings: SimulationSettings) -> list[Margin]:
    """In every cell of the study: how much lower the best proper loss is than the best other loss of the own field."""
    figures = figures_of(simulation_measurements(outcomes))
    others = [name for name in own_field(settings) if name not in settings.proper]
    errors = {(row.cell, row.contender, row.seed): row.selected["mse"] for row in outcomes}
    found = []
    for cell in settings.study_cells:
        of_cell = figures[Place(cell.name, "selected", "mse")]
        best, rival = best_contender(of_cell, settings.proper), best_contender(of_cell, others)
        if best is None or rival is None:
            continue
        seeds = [row.seed for row in outcomes if (row.cell, row.contender) == (cell.name, best)]
        pairs = [(errors[cell.name, rival, seed], errors[cell.name, best, seed]) for seed in seeds]
        values = [np.nan if a is None or b is None else a - b for a, b in pairs]
        found.append(Margin(cell.name, best, rival, seed_interval(np.array(values))))
    return found


def own_field(settings: SimulationSettings) -> list[str]:
    """The contenders of the study's own field."""
    return [contender.name for contender in settings.contenders if contender.name not in settings.entered_later]


def simulation_page(outcomes: Sequence[Outcome], settings: SimulationSettings) -> str:
    """The study as Markdown: sentences, then tables, the best of a column in bold type."""
    figures = figures_of(simulation_measurements(outcomes))
    names = [contender.name for contender in settings.contenders]
    parts = ["# The simulation study", "\n".join(f"- {sentence}" for sentence in study_sentences(figures, settings))]
    parts.append(_margin_section(proper_margins(outcomes, settings)))
    for size in settings.sizes:
        cells = [cell for cell in settings.study_cells if cell.n_items == size]
        headers = [cell.condition for cell in cells]
        for metric, title in TITLES.items():
            parts.append(_section(f"{title}, {size} items", headers, figures, cells, names, metric))
        parts.append(_annotated_section(f"Items with votes, {size} items", figures, cells, names))
        parts.append(_coverage_section(f"Coverage of 90 % credible intervals, {size} items", figures, cells, names))
    if settings.more:
        headers = [cell.name for cell in settings.more]
        for metric, title in TITLES.items():
            parts.append(_section(f"{title}, further cells", headers, figures, settings.more, names, metric))
        parts.append(_annotated_section("Items with votes, further cells", figures, settings.more, names))
        parts.append(
            _coverage_section("Coverage of 90 % credible intervals, further cells", figures, settings.more, names)
        )
    return "\n\n".join(parts) + "\n"


# -- steps ------------------------------------------------------------------------------------------------------


def _count_sentence(
    figures: Figures, cells: Sequence[SimulatedCell], among: Sequence[str], proper: Sequence[str]
) -> str:
    counts = count_best(figures, cells, among, metric="mse", checkpoint="selected")
    others = [f"{name} in {n}" for name, n in counts.most_common() if name not in proper]
    n_proper = sum(counts[name] for name in proper)
    n_rq = sum(n for name, n in counts.items() if name.startswith("dpm_rq"))
    return (
        f"Among {', '.join(among)}: a proper loss ({', '.join(proper)}) has the lowest squared error at the selected "
        f"checkpoint in {n_proper} of {len(cells)} cells, dpm_rq in {n_rq}; others: {', '.join(others) or 'none'}."
    )


def _noisy_sentences(figures: Figures, cells: Sequence[SimulatedCell], among: Sequence[str]) -> list[str]:
    """Who is best at the end of training where annotators are noisy observers of a near-consensus."""
    noisy = [cell for cell in cells if cell.condition == NOISY_CONSENSUS]
    found = [best_contender(figures[Place(cell.name, "last", "mse")], among) for cell in noisy]
    named = ", ".join(f"{winner} at {cell.n_items}" for cell, winner in zip(noisy, found, strict=True))
    return [f"Under {NOISY_CONSENSUS} the lowest squared error at the last checkpoint: {named}."] if noisy else []


def _margin_section(margins: Sequence[Margin]) -> str:
    rows = [[row.cell, row.proper, row.other, interval_text(row.difference)] for row in margins]
    n_sure = sum(row.difference.low > 0 for row in margins)
    return (
        "## The best proper loss against the best other\n\nSquared error at the selected checkpoint, paired by seed, "
        f"95 % t interval: surely lower in {n_sure} of {len(margins)} cells.\n\n"
        + markdown_table(["cell", "proper", "other", "lower by"], rows)
    )


def _section(
    title: str,
    headers: Sequence[str],
    figures: Figures,
    cells: Sequence[SimulatedCell],
    names: Sequence[str],
    metric: str,
) -> str:
    """One metric of every contender: selected / last."""
    best = {
        (cell.name, checkpoint): best_contender(
            figures[Place(cell.name, checkpoint, metric)], names, highest=metric in HIGHER_IS_BETTER
        )
        for cell in cells
        for checkpoint in CHECKPOINTS
    }

    def show(cell: SimulatedCell, name: str) -> str:
        shown = []
        for checkpoint in CHECKPOINTS:
            text = number_text(figures[Place(cell.name, checkpoint, metric)].get(name))
            shown.append(f"**{text}**" if best[cell.name, checkpoint] == name else text)
        return " / ".join(shown)

    rows = [[name, *(show(cell, name) for cell in cells)] for name in names]
    return f"## {title}\n\nSelected checkpoint / last checkpoint.\n\n{markdown_table(['', *headers], rows)}"


def _annotated_section(title: str, figures: Figures, cells: Sequence[SimulatedCell], names: Sequence[str]) -> str:
    """Squared error of everything that can be said of an item that has votes."""
    kinds = {
        "share_mse": "raw share",
        "prior_mse": "smoothed prior p",
        "mse": "q of {}",
        "r_mse": "d-PM posterior r of {}",
        "posterior_mse": "posterior share, q of {}",
        "kappa_posterior_mse": "posterior share, q and κ(x) of {}",
    }
    rows = []
    for metric, label in kinds.items():
        for name in names if "{}" in label else names[:1]:
            found = [figures.get(Place(cell.name, "selected", metric), {}).get(name) for cell in cells]
            if any(interval is not None for interval in found):
                rows.append([label.format(name), *map(number_text, found)])
    headers = [cell.name for cell in cells]
    note = "Squared error against the true shares, selected checkpoint."
    return f"## {title}\n\n{note}\n\n{markdown_table(['', *headers], rows)}"


def _coverage_section(title: str, figures: Figures, cells: Sequence[SimulatedCell], names: Sequence[str]) -> str:
    """Share of the true shares in the credible intervals; in brackets: of the votes' probabilities. m below."""
    rows = []
    for name in names:
        shown = []
        for cell in cells:
            of_truth, of_votes, strength = (
                figures.get(Place(cell.name, "selected", metric), {}).get(name)
                for metric in ("coverage", "vote_coverage", "strength")
            )
            shown.append(f"{number_text(of_truth)} ({number_text(of_votes)}), m {number_text(strength)}")
        rows.append([name, *shown])
        kappa = [figures.get(Place(cell.name, "selected", "kappa_coverage"), {}).get(name) for cell in cells]
        if any(interval is not None for interval in kappa):
            rows.append([f"{name}, κ(x)", *map(number_text, kappa)])
    headers = [cell.name for cell in cells]
    note = "Of the true shares (of the probabilities of a vote), and m, the number of votes that q is worth."
    return f"## {title}\n\n{note}\n\n{markdown_table(['', *headers], rows)}"


def number_text(found: Interval | None) -> str:
    """The mean with four decimals, without the zero in front; one decimal from 10 on; – where undefined."""
    if found is None or np.isnan(found.value):
        return "–"
    return f"{found.value:.1f}" if abs(found.value) >= 10 else re.sub(r"^(-?)0\.", r"\1.", f"{found.value:.4f}")


def interval_text(found: Interval) -> str:
    """`.0035 [.0012, .0061]`; without brackets where there is no interval."""
    ends = [number_text(Interval(end, np.nan, np.nan)) for end in found[1:]]
    return number_text(found) + ("" if np.isnan(found.low) else f" [{', '.join(ends)}]")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A GitHub-flavoured table; the cells are shown as they are."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
