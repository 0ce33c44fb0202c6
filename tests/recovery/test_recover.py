"""`accord recover` on toy corpora: whole runs, interrupted ones, and corpora that nobody foresaw."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accord.artifacts import MANIFEST_FILE
from accord.cli.main import main
from accord.data.prepare import prepare_stage
from accord.data.settings import PrepareSettings
from accord.errors import ConfigError, DataError
from accord.json_files import read_json
from accord.recovery import budget, estimates, panel
from accord.recovery.hide import Estimate, Hiding
from accord.recovery.recover import recover_stage
from accord.recovery.settings import RecoverSettings
from accord.recovery.text_estimators import estimate_texts
from accord.recovery.vote_estimators import VOTE_ESTIMATORS
from toys import save_tiny_encoder, write_rows

PLAIN = ("share", "add_1", "beta_prior")
NO_TEXT = RecoverSettings(objectives=("none",), estimators=PLAIN, seeds=2, n_resamples=20)


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The annotation budget has tests of its own, and is not cheap."""
    monkeypatch.setattr(panel, "N_RESAMPLES", 5)
    monkeypatch.setattr(budget, "N_PAIRS", 100)
    monkeypatch.setattr(budget, "N_SIMULATED_ITEMS", 20)


def corpus(
    n_items: int = 24, *, people: int = 6, most_votes: int = 5, label: str | None = None
) -> list[dict[str, Any]]:
    """Replies in twos on a prompt; three items a group; later items are accepted more often."""
    rng = np.random.default_rng(5)
    items = []
    for number in range(n_items):
        n_votes = 1 + number % most_votes
        yes = rng.random(n_votes) < (number + 0.5) / n_items
        says = [label or ("acceptable" if vote else "unacceptable") for vote in yes]
        who = rng.permutation(people)[:n_votes]
        items.append(
            {
                "id": f"i{number:02}",
                "prompt": f"i feel sad {number // 2} .",
                "completion": ("sorry to hear that", "you must go home")[number % 2] + f" {number} .",
                "group": f"g{number // 3}",
                "annotations": [{"annotator": f"a{w}", "label": vote} for w, vote in zip(who, says, strict=True)],
            }
        )
    return items


def run(tmp_path: Path, rows: list[dict[str, Any]], settings: RecoverSettings = NO_TEXT, name: str = "out") -> Path:
    items = write_rows(tmp_path / f"{name}.jsonl", rows)
    return recover_stage(items, output_dir=tmp_path / name, settings=settings, seed=0)


def results(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["name"], row["system"]): row for row in read_json(folder / "results.json")}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_the_whole_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = write_rows(tmp_path / "items.jsonl", corpus())
    encoder = save_tiny_encoder(tmp_path / "encoder")
    command = ["recover", str(items), "--keep", "1", "2", "3", "--objectives", "all", "--seeds", "2"]
    command += ["--estimators", *PLAIN, "dawid_skene", "--model", encoder, "--max-length", "64", "--epochs", "1"]
    command += ["--n-resamples", "50", "--n-folds", "3", "--output-dir", str(tmp_path / "out")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "Annotated items: use " in printed
    assert "Unseen text: use " in printed
    folder = tmp_path / "out"
    assert {path.name for path in folder.iterdir()} == {
        *("stage.json", MANIFEST_FILE, "results.json", "recover.md", "recovery.csv", "differences.csv"),
        *("verdict.json", "summary.json", "reliability.json", "too_few_votes.jsonl", "budget.csv"),
    }
    found = results(folder)
    for keep in (1, 2, 3):
        for name in estimates.OBJECTIVES:
            row = found[f"unseen/{keep}/log_loss", name]
            assert row["value"] > 0
            assert row["n"] == 9  # 24 items with 1 to 5 votes in turn: 5 with four votes, 4 with five
            assert row["signature"].startswith(
                f"log_loss|question:unseen|keep:{keep}|hide:votes|hidings:2|clip:0.001|ci:"
            )
            assert (f"annotated/{keep}/brier", f"{name}+votes") in found
    with (folder / "differences.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["question"], row["baseline"]) for row in rows} == {("annotated", "votes+votes"), ("unseen", "votes")}
    assert main([*command, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["reused"]
    assert [verdict["question"] for verdict in again["verdicts"]] == ["annotated", "unseen"]


def test_a_killed_run_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at the third add-1; what was finished is not made again."""
    calls: list[Hiding] = []

    def counting(hiding: Hiding) -> Estimate:
        calls.append(hiding)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return add_1(hiding)

    add_1 = VOTE_ESTIMATORS["add_1"]
    whole = run(tmp_path, corpus(), name="whole")
    items = write_rows(tmp_path / "whole.jsonl", corpus())
    monkeypatch.setattr(estimates, "VOTE_ESTIMATORS", {**VOTE_ESTIMATORS, "add_1": counting})
    with pytest.raises(KeyboardInterrupt):
        recover_stage(items, output_dir=tmp_path / "killed", settings=NO_TEXT, seed=0)
    assert (tmp_path / "killed" / "scratch").is_dir()
    assert not (tmp_path / "killed" / MANIFEST_FILE).exists()
    killed = recover_stage(items, output_dir=tmp_path / "killed", settings=NO_TEXT, seed=0)
    assert len(calls) == 2 * 2 + 1  # two keeps, two seeds, and the one that was killed
    assert files(killed) == files(whole)


def test_a_killed_run_fits_only_the_missing_text_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = RecoverSettings(
        objectives=("votes", "soft_kl"),
        estimators=("beta_prior",),
        keep=(2,),
        seeds=2,
        n_folds=3,
        n_resamples=50,
        model=save_tiny_encoder(tmp_path / "encoder"),
        max_length=64,
        epochs=1,
    )
    whole = run(tmp_path, corpus(), settings, name="whole")
    asked: list[tuple[int, list[str]]] = []

    def stopping(features: Any, hidings: Any, folds: Any, **rest: Any) -> Any:
        asked.append((len(hidings), list(rest["names"])))
        for count, found in enumerate(estimate_texts(features, hidings, folds, **rest)):
            if count == 2 and len(asked) == 1:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr("accord.recovery.estimates.estimate_texts", stopping)
    items, output_dir = tmp_path / "whole.jsonl", tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        recover_stage(items, output_dir=output_dir, settings=settings, seed=0)
    killed = recover_stage(items, output_dir=output_dir, settings=settings, seed=0)
    assert asked == [(2, ["votes", "soft_kl"]), (1, ["votes", "soft_kl"])]  # the first hiding was finished
    assert files(killed) == files(whole)


def test_the_order_of_annotators_and_items_changes_nothing(tmp_path: Path) -> None:
    rows = corpus()
    mixed = [{**row, "annotations": row["annotations"][::-1]} for row in rows]
    one, other = run(tmp_path, rows, name="one"), run(tmp_path, mixed, name="other")
    assert (one / "recovery.csv").read_bytes() == (other / "recovery.csv").read_bytes()


def test_items_with_too_few_votes_are_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = run(tmp_path, corpus())
    named = [json.loads(line) for line in (folder / "too_few_votes.jsonl").read_text().splitlines()]
    assert [row["id"] for row in named] == [f"i{n:02}" for n in range(24) if n % 5 < 2]
    assert "10 items have too few votes to hide any (i00, i01, i05, i06, i10, …); all are in too_few_" in caplog.text
    summary = read_json(folder / "summary.json")
    assert (summary["n_items"], summary["n_targets"], summary["n_too_few"]) == (24, 14, 10)


def test_one_set_of_items_at_every_keep(tmp_path: Path) -> None:
    found = results(run(tmp_path, corpus()))
    assert {row["n"] for (name, _), row in found.items() if name.endswith("log_loss")} == {14}


def test_votes_as_counts(tmp_path: Path) -> None:
    rows = corpus()
    for row in rows:
        says = [annotation["label"] for annotation in row.pop("annotations")]
        row["votes"] = {label: says.count(label) for label in ("acceptable", "unacceptable")}
        del row["group"]
    settings = RecoverSettings(objectives=("none",), estimators=("all",), seeds=2, n_resamples=50)
    folder = run(tmp_path, rows, settings)
    summary = read_json(folder / "summary.json")
    assert summary["n_annotators"] is None
    assert summary["not_run"][0] == (
        "estimator 'dawid_skene' needs to know who voted, and here annotators are unknown. Leave it out."
    )
    found = results(folder)
    assert found["annotated/1/log_loss", "beta_prior"]["signature"].endswith("@0.95/group")


def test_one_label_and_two_targets(tmp_path: Path) -> None:
    """Constant votes of two items in one group: nothing to tell apart, no interval, and no failure."""
    rows = corpus(4, label="acceptable")[2:]
    folder = run(tmp_path, [{**row, "group": "all", "prompt": "i feel sad"} for row in rows])
    summary = read_json(folder / "summary.json")
    assert summary["warnings"] == [
        "Every vote of the judged items is acceptable: there is nothing to tell the estimators apart.",
        "The judged items form 1 group(s): differences between estimators prove nothing.",
    ]
    row = results(folder)["annotated/1/log_loss", "add_1"]
    assert row["value"] == pytest.approx(np.log(3 / 2))
    assert (row["low"], row["high"]) == (None, None)


def test_one_visible_vote_teaches_no_smoothing(tmp_path: Path) -> None:
    """Every item has three votes and keeps one: add_s and beta_prior have no answer, and that is said."""
    rows = [row for row in corpus(30) if len(row["annotations"]) == 3]
    settings = RecoverSettings(
        keep=(1,), objectives=("none",), estimators=("add_1", "beta_prior"), seeds=2, n_resamples=50
    )
    folder = run(tmp_path, rows, settings)
    assert read_json(folder / "summary.json")["undefined"] == {"annotated/1": ["beta_prior"]}
    assert results(folder)["annotated/1/log_loss", "beta_prior"]["value"] is None
    assert "Annotated items: use add_1." in (folder / "recover.md").read_text()


def test_empty_prompts_are_no_shared_prompt(tmp_path: Path) -> None:
    """Texts that stand alone are not compared with each other."""
    folder = run(tmp_path, [{**row, "prompt": ""} for row in corpus()])
    assert results(folder)["annotated/1/regret", "add_1"]["value"] is None
    assert "regret" not in (folder / "recover.md").read_text()


def test_people_and_panels(tmp_path: Path) -> None:
    rows = corpus(40)
    people = run(tmp_path, rows, replace(NO_TEXT, hide="people", keep=(1,)), name="people")
    assert results(people)["annotated/1/log_loss", "share"]["signature"].split("|")[3] == "hide:people"
    panels = replace(NO_TEXT, hide="panels", first_panel=("a0", "a1", "a2"), keep=(1,))
    folder = run(tmp_path, rows, panels, name="panels")
    assert read_json(folder / "summary.json")["n_targets"] > 0


def test_seats_are_no_people(tmp_path: Path) -> None:
    """Two panels of five seats an item, as in Scruples: nobody votes twice, so nobody is known."""
    rows = corpus(12, most_votes=5)
    for row in rows:
        for seat, annotation in enumerate(row["annotations"]):
            annotation["annotator"] = f"{('first', 'second')[seat % 2]}/{row['id']}/{seat}"
    settings = RecoverSettings(
        keep=(1, 2), hide="panels", objectives=("none",), estimators=("all",), seeds=2, n_resamples=50
    )
    folder = run(tmp_path, rows, settings)
    summary = read_json(folder / "summary.json")
    assert summary["n_annotators"] is None
    assert any("dawid_skene" in line for line in summary["not_run"])
    with pytest.raises(ConfigError, match=r"^hide is 'people', but the annotators of this data are unknown"):
        run(tmp_path, rows, replace(settings, hide="people"), name="people")


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (
            {"keep": (9,)},
            ConfigError,
            r"^No item has more than 9 votes, so none can be hidden at --keep 9\. Lower --keep",
        ),
        ({"keep": ()}, ConfigError, r"^keep is \[\]; expected numbers of visible votes from 1"),
        ({"estimators": ("none",)}, ConfigError, r"^estimators and objectives are both none: nobody is left"),
        ({"estimators": ("mean",)}, ConfigError, r"^estimators names 'mean'\. Expected all, none, or some of"),
        (
            {"objectives": ("vote",)},
            ConfigError,
            r"^objectives names 'vote'\. Expected all, none, or some of votes, so",
        ),
        ({"seeds": 0}, ConfigError, r"^seeds is 0\. Expected a number from 1 to"),
        ({"n_folds": 2}, ConfigError, r"^n_folds is 2; expected 3 or more\."),
        (
            {"splits": ("dev",)},
            ConfigError,
            r"^No item of splits dev \(found splits: none\)\. Say which to use with --spl",
        ),
        ({"scheme": "yes-no"}, DataError, r'label "(un)?acceptable"'),
        ({"scheme": "global-consensus"}, DataError, r"label"),
    ],
)
def test_errors(tmp_path: Path, changed: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run(tmp_path, corpus(), replace(NO_TEXT, **changed))
    assert not (tmp_path / "out").exists()


def test_text_needs_three_groups(tmp_path: Path) -> None:
    rows = [{**row, "group": f"g{number % 2}"} for number, row in enumerate(corpus())]
    with pytest.raises(
        ConfigError, match=r"^The items form 2 independent group\(s\); text models need 3, one to learn"
    ):
        run(tmp_path, rows, replace(NO_TEXT, objectives=("votes",)))


def test_the_test_split_is_left_alone(tmp_path: Path) -> None:
    rows = [{**row, "split": ("train", "test")[number % 2]} for number, row in enumerate(corpus())]
    summary = read_json(run(tmp_path, rows) / "summary.json")
    assert (summary["n_items"], summary["n_set_aside"]) == (12, 12)
    asked = replace(NO_TEXT, splits=("test",))
    assert read_json(run(tmp_path, rows, asked, name="test") / "summary.json")["n_items"] == 12
    only_test = [{**row, "split": "test"} for row in rows]
    with pytest.raises(
        ConfigError, match=r"^No item outside split test \(found splits: test\)\. Say which to use with"
    ):
        run(tmp_path, only_test, name="only")


def test_a_simulation_brings_its_truth(tmp_path: Path) -> None:
    rows = corpus()
    shares = [{"id": row["id"], "acceptance": 0.5, "vote_share": 0.4} for row in rows]
    settings = replace(NO_TEXT, truth=str(write_rows(tmp_path / "truth.jsonl", shares)))
    found = results(run(tmp_path, rows, settings))
    assert found["annotated/1/truth_error", "add_1"]["value"] > 0
    write_rows(tmp_path / "truth.jsonl", shares[1:])
    with pytest.raises(DataError, match=r"truth\.jsonl has no line for item 'i00' \(1 missing\)\. Expected every item"):
        run(tmp_path, rows, settings, name="other")


def test_prepared_folders_and_files_with_a_scheme_beside(tmp_path: Path) -> None:
    """The same votes either way; another scheme may be given, and must fit the labels."""
    rows = [{**row, "split": "train"} for row in corpus()]
    items = write_rows(tmp_path / "plain.jsonl", rows)
    prepared = prepare_stage(items, output_dir=tmp_path / "prepared", settings=PrepareSettings(n_resamples=20), seed=0)
    whole = run(tmp_path, rows, name="plain")
    for number, source in enumerate((prepared, prepared / "items.jsonl")):
        found = recover_stage(source, output_dir=tmp_path / f"out{number}", settings=NO_TEXT, seed=0)
        assert (found / "recovery.csv").read_bytes() == (whole / "recovery.csv").read_bytes()
    other = replace(NO_TEXT, scheme="yes-no")
    with pytest.raises(DataError, match=r'label "(un)?acceptable" is not one of \["no", "yes"\]'):
        recover_stage(prepared, output_dir=tmp_path / "other", settings=other, seed=0)
