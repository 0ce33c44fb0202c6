"""docs/rating.md: its form is a form, and its table of forms is true."""

import re
from pathlib import Path

from accord.rating.forms import FORMS, load_form

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rating.md"


def test_the_form_of_the_page_is_one(tmp_path: Path) -> None:
    written = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "politeness.yaml"
    path.write_text(written[0], encoding="utf-8")
    form = load_form(path)
    assert (form.layout, form.questions[0].keys, form.questions[0].acceptable) == ("single", ("1", "2", "3"), ("3",))


def test_the_table_of_forms_names_every_question_and_layout() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    for name in FORMS:
        form = load_form(name)
        asked, layout = rows[name].rsplit(" | ", 1)
        assert layout == form.layout
        words = asked.lower().replace("-", " ")
        assert [question.name for question in form.questions if question.name.replace("_", " ") not in words] == []
