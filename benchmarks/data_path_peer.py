"""The peer of benchmarks/data_path.py: pandas, crowd-kit, and a plain loop over resamples of NumPy counts."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from crowdkit.aggregation import DawidSkene

from benchmarks.peers import serve


def read_jsonl(path: str) -> tuple[Any, Any]:
    """Texts by item, and annotations with the columns task, worker, label."""
    items = pd.read_json(path, lines=True, dtype={"id": str})
    long = items[["id", "annotations"]].explode("annotations", ignore_index=True)
    labels = pd.DataFrame(long["annotations"].tolist())
    answers = pd.DataFrame({"task": long["id"], "worker": labels["annotator"], "label": labels["label"]})
    return items.drop(columns="annotations"), answers


def read_csv(path: str) -> tuple[Any, Any]:
    """The same from a table with one annotation a row."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    columns = {"id": "task", "annotator": "worker", "label": "label"}
    texts = table.drop(columns=["annotator", "label"]).drop_duplicates()
    return texts, table[list(columns)].rename(columns=columns)


READERS = {".jsonl": read_jsonl, ".csv": read_csv}


def run(path: str, labels: list[str], n_resamples: int, n_steps: int) -> dict[str, Any]:
    """Read, validate, count, alpha with interval, Dawid–Skene."""
    items, answers = READERS[Path(path).suffix](path)
    validate(items, answers, labels)
    counts = pd.crosstab(answers["task"], answers["label"])[labels].to_numpy()
    low, high = alpha_interval(counts, n_resamples)
    fitted = DawidSkene(n_iter=n_steps, tol=-np.inf).fit(answers)
    return {
        "votes": counts.sum(axis=0).tolist(),
        "alpha": alpha(counts),
        "low": low,
        "high": high,
        "frequency": [float(fitted.priors_[label]) for label in labels],
        "most_probable": fitted.labels_.value_counts()[labels].tolist(),
    }


def validate(items: Any, answers: Any, labels: list[str]) -> None:
    """What accord's door checks: ids unique, texts there, labels of the scheme, nobody twice on one item."""
    assert items["id"].is_unique
    for name in ("prompt", "completion"):
        assert items[name].str.strip().astype(bool).all()
    assert answers["worker"].str.strip().astype(bool).all()
    assert answers["label"].isin(labels).all()
    assert not answers.duplicated(["task", "worker"]).any()


def alpha(counts: np.ndarray) -> float:
    """Krippendorff's nominal alpha of items × labels counts."""
    paired = counts[counts.sum(axis=1) >= 2]
    totals = paired.sum(axis=1)
    observed = ((totals**2 - (paired**2).sum(axis=1)) / (totals - 1)).sum()
    margins = paired.sum(axis=0)
    n = margins.sum()
    return float(1 - (n - 1) * observed / (n**2 - (margins**2).sum()))


def alpha_interval(counts: np.ndarray, n_resamples: int) -> tuple[float, float]:
    """The percentile interval of a bootstrap over items: draw rows, compute alpha, again and again."""
    rng = np.random.default_rng(0)
    resampled = [alpha(counts[rng.integers(len(counts), size=len(counts))]) for _ in range(n_resamples)]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    serve({"run": run})
