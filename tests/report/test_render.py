"""The page holds what the run has, nothing it has not, and nothing from elsewhere."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from accord.artifacts import require_complete
from accord.errors import ArtifactError
from accord.json_files import write_json
from accord.report.document import ReportInputs, Section
from accord.report.render import named_tables, report_stage
from accord.report.settings import ReportSettings
from accord.report.tables import Table
from report_folders import COMPARISONS, HOSTILE, SYSTEMS, toy_evaluation, toy_run

SECTIONS = (
    "results", "changes", "diversity", "examples", "disagreement", "preference", "candidates", "calibration",
    "provenance", "notes",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    return toy_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def folder(run: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _report(run, tmp_path_factory.mktemp("report"), title="A <run> & more")


def _report(inputs: ReportInputs, folder: Path, *, title: str = "accord report") -> Path:
    return report_stage(inputs, output_dir=folder / "report", settings=ReportSettings(title=title))


def _page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


class _Elements(HTMLParser):
    """Every tag with its attributes, and whether tags are closed in order."""

    VOID = frozenset({"meta", "link", "br", "img", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


# -- what the page holds ----------------------------------------------------------------------------------------


def test_a_whole_run_shows_every_section_and_every_table_is_a_csv(folder: Path) -> None:
    require_complete(folder, "report")
    elements = _Elements(_page(folder))
    assert elements.open == []
    assert tuple(attributes["id"] for tag, attributes in elements.found if tag == "section") == SECTIONS
    n_tables = sum(tag == "table" for tag, _ in elements.found)
    assert n_tables == len(list((folder / "tables").glob("*.csv"))) > 15
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {str(attributes["href"])[1:] for tag, attributes in elements.found if tag == "a"}
    assert targets == set(SECTIONS)


def test_what_a_run_lacks_is_left_out(run: ReportInputs, tmp_path: Path) -> None:
    only_data = _page(_report(ReportInputs(prepared=run.prepared), tmp_path / "data"))
    assert re.findall(r'<section id="(\w+)"', only_data) == ["disagreement", "provenance"]
    only_preference = _page(_report(ReportInputs(independent=run.independent), tmp_path / "preference"))
    assert re.findall(r'<section id="(\w+)"', only_preference) == ["preference", "provenance"]
    nothing = _page(_report(ReportInputs(), tmp_path / "nothing"))
    assert "<section" not in nothing


def test_the_number_that_matters_most_comes_first(folder: Path) -> None:
    """calibrated - reference_only in true acceptance, although neither is first in its file."""
    page = _page(folder)
    headline = re.search(r'<div class="headline"><b>(.*?)</b>.*?<p>(.*?)</p>', page, re.DOTALL)
    assert headline is not None
    assert headline[2].startswith("True acceptance, calibrated − reference_only: ")
    differences = (folder / "tables" / "differences_true_acceptance.csv").read_text().splitlines()
    assert differences[1].startswith("calibrated − reference_only,")
    assert headline[1] == f"+{float(differences[1].split(',')[1]):.3f}"


def test_acceptance_is_called_what_it_is(folder: Path, run: ReportInputs) -> None:
    assert run.prepared is not None
    scheme = json.loads((run.prepared / "scheme.json").read_text())
    assert scheme["acceptable"] == ["acceptable"]
    sentence = "share of annotators whose label is &#34;acceptable&#34; (label scheme acceptable)."
    assert _page(folder).count(f"Acceptance here is the {sentence}") == 1


def test_truth_stands_beside_the_estimate(folder: Path) -> None:
    with (folder / "tables" / "truth_acceptance.csv").open() as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    assert list(rows) == [*SYSTEMS, "all"]
    base = rows["base"]
    assert float(base["bias"]) == pytest.approx(float(base["mean estimate"]) - float(base["mean truth"]))
    assert 0.3 < float(rows["all"]["Pearson"]) < 1
    assert "Estimate against truth" in _page(folder)


def test_an_evaluation_without_truth_or_comparisons_is_shown_all_the_same(tmp_path: Path) -> None:
    evaluation = toy_evaluation(tmp_path / "evaluation", metrics=("length",), comparisons=())
    page = _page(_report(ReportInputs(evaluation=evaluation), tmp_path))
    assert "5 systems wrote for the same 24 held-out prompts." in page
    assert 'class="headline"' not in page
    assert "Estimate against truth" not in page


def test_the_notes_first_paragraph_stands_at_the_top(folder: Path) -> None:
    page = _page(folder)
    banner = page.index('<p class="banner"><strong>This panel is simulated. No person took part.</strong>')
    assert banner < page.index("<nav")
    assert page.count("No person took part.") == 2
    assert "<code>feature</code>" in page


def test_undefined_numbers_are_a_dash_and_an_empty_cell(folder: Path) -> None:
    """BLEU is undefined for every system."""
    assert re.search(r"<td>base</td>.*?<td>–</td>", _page(folder), re.DOTALL)
    assert "nan" not in re.sub(r"<[^>]+>", " ", _page(folder)).lower().split()
    with (folder / "tables" / "systems.csv").open() as file:
        assert {row["bleu"] for row in csv.DictReader(file)} == {""}


def test_warnings_of_the_preference_model_are_shown(folder: Path) -> None:
    assert "scoring: Held-out calibration slope is 0.70; expected 0.8 to 1.25." in _page(folder)


def test_tables_with_one_name_get_two_files() -> None:
    """Also where names differ only in case or in signs that a file name cannot have."""
    tables = tuple(Table(name, "T", ("a",), ((1,),)) for name in ("x y", "X/y", "../z"))
    section = Section("s", "S", "", tables=tables)
    assert [name for name, _ in named_tables([section])] == ["x_y", "x_y_2", "z"]


# -- what it must not hold --------------------------------------------------------------------------------------


def test_nothing_is_loaded_from_elsewhere(folder: Path) -> None:
    page = _page(folder)
    for tag, attributes in _Elements(page).found:
        assert tag not in ("script", "link", "iframe", "object", "embed", "img", "base")
        for name in ("src", "srcset", "href", "xlink:href", "data", "action"):
            assert (attributes.get(name) or "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert "http:" not in page
    assert "https:" not in page


def test_what_people_and_models_wrote_is_text(folder: Path) -> None:
    page, markdown = _page(folder), (folder / "report.md").read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &lt;b&gt;bold&lt;/b&gt;") == 2
    assert "<title>A &lt;run&gt; &amp; more</title>" in page
    assert HOSTILE not in markdown
    assert markdown.count(HOSTILE.replace("<", "\\<")) == 2


def test_pictures_have_no_size_of_their_own(folder: Path) -> None:
    svgs = [attributes for tag, attributes in _Elements(_page(folder)).found if tag == "svg"]
    assert len(svgs) > 8
    assert all(not {"width", "height"} & set(attributes) and "viewbox" in attributes for attributes in svgs)


def test_wide_tables_scroll_in_a_box_that_the_keyboard_reaches(folder: Path) -> None:
    assert len(re.findall(r"<table>", _page(folder))) == len(
        re.findall(r'<div class="table" tabindex="0" role="region" aria-label="[^"]+"><table>', _page(folder))
    )


# -- the stage --------------------------------------------------------------------------------------------------


def test_a_second_rendering_is_the_same_bytes_and_a_finished_one_is_kept(
    run: ReportInputs, folder: Path, tmp_path: Path
) -> None:
    again = _report(run, tmp_path, title="A <run> & more")
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((folder / name).read_bytes() == (again / name).read_bytes() for name in files)
    written = (again / "report.html").stat().st_mtime_ns
    assert _report(run, tmp_path, title="A <run> & more") == again
    assert (again / "report.html").stat().st_mtime_ns == written


def test_the_page_says_nothing_of_where_it_was_made(run: ReportInputs, folder: Path) -> None:
    assert run.prepared is not None
    for name in ("report.html", "report.md"):
        assert str(run.prepared.parent) not in (folder / name).read_text(encoding="utf-8")


def test_an_unfinished_input_is_refused(run: ReportInputs, tmp_path: Path) -> None:
    (tmp_path / "fit").mkdir()
    write_json(tmp_path / "fit" / "stage.json", {"stage": "fit"})
    with pytest.raises(ArtifactError, match="unfinished"):
        _report(run._replace(preference=tmp_path / "fit"), tmp_path)


def test_markdown_holds_the_same_tables(folder: Path) -> None:
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    titles = re.findall(r"<h3>([^<]+)</h3>\n<div class=\"table\"|<summary>([^<]+)</summary>", _page(folder))
    for plain, folded in titles:
        assert f"### {plain or folded}".replace("&#39;", "'") in markdown
    assert "| calibrated − reference_only |" in markdown
    assert f"over all {len(COMPARISONS) * 4} comparisons" in markdown
