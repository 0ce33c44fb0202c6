"""The pages, rendered from plain contexts: real fieldsets and radios, everything escaped, nothing inline."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from accord.rating import forms
from accord.rating.forms import FORMS, load_form

ROOM = Path(forms.__file__).parent
ATTACK = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def render(name: str, **context: Any) -> str:
    loader = FileSystemLoader(ROOM / "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(name).render(context)


class Tags(HTMLParser):
    """Every start tag with its attributes, and the text of every legend."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [found for name, found in self.found if name == tag and attributes.items() <= found.items()]


def a_task(form_name: str, *, completion: str = "That sounds hard.", saved: str | None = None) -> dict[str, Any]:
    form = load_form(form_name)
    texts = [
        {
            "item": f"item{letter}",
            "name": f"Text {letter}",
            "completion": completion,
            "questions": [
                {"name": question.name, "id": f"q{letter}{place}", "saved_label": saved}
                for place, question in enumerate(form.questions)
            ],
        }
        for letter in "AB"
    ]
    prompt = [{"role": "user", "content": "I lost my job."}, {"role": "assistant", "content": completion}]
    task = {"number": 3, "n_tasks": 9, "prompt": prompt, "texts": texts, "is_skipped": False, "skip_reason": None}
    urls = {
        "welcome": "/a/t/welcome",
        "answers": "/a/t/answers",
        "skip": "/skip",
        "previous": "/a/t/tasks/2",
        "next": "/n",
        "done": "/d",
    }
    progress = {"answered": 2, "of": 9}
    return {"form": form, "task": task, "progress": progress, "urls": urls, "csrf": "c", "paused": False}


def an_admin_page(state: str = "open", **fields: Any) -> dict[str, Any]:
    flags = {"too_fast": 1, "failed_checks": 0, "self_consistency": 0.5}
    annotator = {"name": "r1", "link": "http://h/a/t", "n_answered": 1, "of": 4, "flags": flags, "state": "active"}
    names = ("invite", "revoke", "pause", "resume", "close", "delete", "jsonl", "csv")
    return {
        "study": {"title": "Study", "state": state, "n_items": 4, "n_annotators_per_item": 3},
        "annotators": [annotator],
        "items": [{"id": "t1", "prompt_excerpt": "I lost", "n_ratings": 1, "wanted": 3, "disagreement": None}],
        "agreement": [],
        "means": None,
        "csrf": "c",
        "urls": {name: f"/admin/s/{name}" for name in names},
    } | fields


@pytest.mark.parametrize("name", FORMS)
def test_every_question_is_a_fieldset_of_radios_with_its_anchors(name: str) -> None:
    context = a_task(name)
    page = render("task.html", **context)
    tags = Tags(page)
    questions = context["form"].questions
    fieldsets = tags.all("fieldset", **{"class": "question"})
    assert [(f["data-item"], f["data-question"]) for f in fieldsets] == [
        (item, question.name) for item in ("itemA", "itemB") for question in questions
    ]
    for place, question in enumerate(questions):
        radios = tags.all("input", type="radio", name=f"qA{place}")
        assert [radio["value"] for radio in radios] == [label.value for label in question.labels]
        assert [radio["data-key"] for radio in radios] == list(question.keys)
    assert page.count("<legend>") == len(fieldsets) + 1  # the reasons to skip are a fieldset of their own
    anchors = [label.anchor for question in questions for label in question.labels]
    shown = page.replace("&#34;", '"').replace("&#39;", "'")
    assert [anchor for anchor in anchors if shown.count(anchor) < 2] == []


def test_saved_answers_are_checked_and_keys_are_printed() -> None:
    page = render("task.html", **a_task("emotional-support", saved="4"))
    assert [radio["value"] for radio in Tags(page).all("input", type="radio") if "checked" in radio] == ["4"] * 10
    assert "<kbd>1</kbd> to <kbd>5</kbd> choose" in page
    assert "<kbd>Enter</kbd> save and go on" in page


@pytest.mark.parametrize("completion", ["", " \n"])
def test_a_text_of_white_space_is_said_to_be_empty(completion: str) -> None:
    page = render("task.html", **a_task("acceptable", completion=completion))
    assert page.count('<p class="said empty" dir="auto">(empty)</p>') == 2


def test_a_paused_page_takes_no_answers_and_a_skipped_one_says_why() -> None:
    context = a_task("acceptable")
    context["task"] |= {"is_skipped": True, "skip_reason": "It upsets me"}
    tags = Tags(render("task.html", **context | {"paused": True}))
    assert all("disabled" in fieldset for fieldset in tags.all("fieldset", **{"class": "question"}))
    assert "You skipped this page (“It upsets me”)." in render("task.html", **context)


def test_welcome_asks_for_consent_and_keeps_what_was_given() -> None:
    form = load_form("emotional-support")
    given = {"age": "25 to 34", "country": ATTACK}
    page = render("welcome.html", form=form, csrf="c", url="/w", given=given, errors={"consent": "Please agree."})
    tags = Tags(page)
    assert [("required" in box, "checked" in box) for box in tags.all("input", type="checkbox")] == [(True, False)]
    assert [option["value"] for option in tags.all("option") if "selected" in option] == ["25 to 34"]
    assert tags.all("input", id="country")[0]["value"] == ATTACK
    assert '<a href="#consent">Please agree.</a>' in page
    assert page.index('id="consent"') < page.index('id="age"')


def test_means_are_shown_when_they_are_given() -> None:
    hidden = render("admin.html", **an_admin_page())
    assert "Hidden until the study is closed" in hidden
    means = [
        {"question": "overall", "system": system, "mean": mean, "n": 4}
        for system, mean in (("base", 3.25), ("other", 4.0))
    ] + [{"question": "tone", "system": system, "mean": None, "n": 4} for system in ("base", "other")]
    closed = render("admin.html", **an_admin_page("closed", means=means))
    assert '<th scope="row">base</th><td class="n">3.25</td><td class="n">–</td>' in closed
    assert "Close the study" not in closed


def test_deleting_an_annotator_is_confirmed_first() -> None:
    page = render("admin.html", **an_admin_page())
    form = page.index('action="/admin/s/delete"')
    assert page.rindex('<dialog id="delete-1"', 0, form) > 0
    assert '<input type="hidden" name="annotator" value="r1">' in page[form:]


def test_the_most_disputed_pages_stand_first() -> None:
    disagreements = {"calm": 0.1, "new": None, "hot": 0.9, "newer": None, "warm": 0.5}
    items = [
        {"id": name, "prompt_excerpt": "", "n_ratings": 2, "wanted": 3, "disagreement": value}
        for name, value in disagreements.items()
    ]
    page = render("admin.html", **an_admin_page(items=items))
    found = re.findall(r'<th scope="row">(\w+)</th><td class="excerpt"', page)
    assert found == ["hot", "warm", "calm", "new", "newer"]


PAGES = {
    "task": lambda: render("task.html", **a_task("rule-of-thumb", completion=ATTACK)),
    "welcome": lambda: render(
        "welcome.html", form=load_form("acceptable"), csrf="c", url="/w", given={}, errors={"age": ATTACK}
    ),
    "done": lambda: render("done.html", form=load_form("acceptable"), code=ATTACK, urls={"previous": "/p"}),
    "message": lambda: render("message.html", title=ATTACK, text=ATTACK),
    "admin": lambda: render(
        "admin.html",
        **an_admin_page(
            items=[{"id": ATTACK, "prompt_excerpt": ATTACK, "n_ratings": 1, "wanted": 3, "disagreement": 0.5}]
        ),
    ),
}


@pytest.mark.parametrize("name", PAGES)
def test_pages_escape_everything_and_hold_nothing_inline(name: str) -> None:
    page = PAGES[name]()
    tags = Tags(page)
    assert all("src" in script for script in tags.all("script"))
    assert tags.all("style") == []
    assert tags.all("img") == []
    inline = {"style", "onclick", "onerror", "onload", "onsubmit"}
    assert [found for found in tags.found if inline & found[1].keys()] == []
    addresses = [found.get("src") or found.get("href") or "" for tag, found in tags.found if tag in ("script", "link")]
    assert [address for address in addresses if not (ROOM / address.removeprefix("/")).is_file()] == []


def test_scripts_and_styles_ask_no_other_host() -> None:
    for path in (ROOM / "static").iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert re.findall(r"https?://|//cdn|@import|data:image", text) == [], path.name
