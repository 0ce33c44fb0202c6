"""Every page: no serious finding of axe-core in light and dark, no sideways scrolling at 320 px; the admin page.

axe-core is not shipped: `npm install axe-core` anywhere, and name its axe.min.js in ACCORD_AXE.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rating_study import RatingServer, consent, rate_page, ready, saved, write_outputs

AXE = os.environ.get("ACCORD_AXE", "")
FORMS = (
    "emotional-support",
    pytest.param("rule-of-thumb", marks=pytest.mark.slow),
    pytest.param("acceptable", marks=pytest.mark.slow),
)


@pytest.fixture(scope="module", params=FORMS)
def finished(request: pytest.FixtureRequest, browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """(server, addresses of every page) of a study in which one annotator has finished and another has begun."""
    folder = tmp_path_factory.mktemp("pages")
    outputs = write_outputs(folder / "outputs", n_prompts=1)
    with RatingServer(folder / "study", outputs, form=request.param, annotators=2, annotators_per_item=2) as server:
        context = browser.new_context()
        page = context.new_page()
        page.goto(server.links[1])
        urls = {"start": f"http://127.0.0.1:{server.port}/", "welcome": page.url, "admin": server.admin}
        consent(page, server.links[0])
        urls["task"] = page.url
        rate_page(page, turn=0)
        urls["done"] = page.url
        urls["wrong link"] = f"{server.links[0]}x"
        context.close()
        yield server, urls


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_no_serious_finding(finished: Any, browser: Any, scheme: str) -> None:
    if not Path(AXE).is_file():
        pytest.skip("axe-core is not there: ACCORD_AXE names no axe.min.js")
    _, urls = finished
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    for name, url in urls.items():
        page.goto(url)
        assert axe_findings(page) == [], name
        for dialog in page.query_selector_all("dialog"):
            dialog.evaluate("dialog => dialog.showModal()")
            assert axe_findings(page) == [], f"{name}: {dialog.get_attribute('id')}"
            dialog.evaluate("dialog => dialog.close()")
    context.close()


def axe_findings(page: Any) -> list[str]:
    """Rule and element of every finding that axe-core calls serious or critical."""
    page.evaluate(Path(AXE).read_text(encoding="utf-8"))
    violations = page.evaluate("async () => (await axe.run()).violations")
    return [
        f"{violation['id']}: {node['html']}"
        for violation in violations
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


def test_no_page_scrolls_sideways_on_a_small_phone(finished: Any, browser: Any) -> None:
    _, urls = finished
    context = browser.new_context(viewport={"width": 320, "height": 600}, has_touch=True, is_mobile=True)
    page = context.new_page()
    for name, url in urls.items():
        page.goto(url)
        assert page.evaluate("document.documentElement.scrollWidth") == 320, name
    context.close()


@pytest.mark.slow
def test_a_page_can_be_answered_by_touch(browser: Any, tmp_path: Path) -> None:
    outputs = write_outputs(tmp_path / "outputs", n_prompts=1)
    context = browser.new_context(viewport={"width": 320, "height": 600}, has_touch=True, is_mobile=True)
    page = context.new_page()
    with RatingServer(tmp_path / "study", outputs, form="acceptable", annotators=1) as server:
        page.goto(server.links[0])
        page.tap("label[for=consent]")
        page.tap("button[type=submit]")
        ready(page)
        page.tap("label.point >> nth=1")
        saved(page, "1 of 1")
        page.tap("#next")
        page.wait_for_selector("text=Thank you")
        assert list(server.answers().values()) == ["yes"]
    context.close()


def test_the_admin_page_follows_and_steers_the_study(browser: Any, tmp_path: Path) -> None:
    """Numbers renew themselves; pause, invite, delete (confirmed first) and close do what they say."""
    outputs = write_outputs(tmp_path / "outputs", n_prompts=2)
    context = browser.new_context(accept_downloads=True)
    admin, page = context.new_page(), context.new_page()
    with RatingServer(tmp_path / "study", outputs, form="acceptable", annotators=2, annotators_per_item=2) as server:
        admin.goto(server.admin)
        assert "Hidden until the study is closed" in admin.inner_text("main")
        for turn, link in enumerate(server.links):
            consent(page, link)
            rate_page(page, turn=turn)
        admin.wait_for_selector("tr:has-text('r1') >> text=1 of 2", timeout=10_000)

        admin.get_by_role("button", name="Pause").click()
        admin.wait_for_selector("text=Paused")
        page.reload()
        ready(page)
        assert page.is_disabled("fieldset.question input >> nth=0")
        admin.get_by_role("button", name="Go on").click()
        admin.wait_for_selector("text=Open")

        admin.get_by_role("button", name="Invite another annotator").click()
        admin.wait_for_selector("th:has-text('r3')")

        admin.get_by_role("button", name="Delete… r1").click()
        admin.get_by_role("button", name="Keep").click()
        assert admin.is_visible("th:has-text('r1')")
        admin.get_by_role("button", name="Delete… r1").click()
        admin.get_by_role("button", name="Delete everything").click()
        admin.wait_for_selector("th:has-text('r1')", state="detached")
        assert {annotator for annotator, _, _ in server.answers()} == {"r2"}

        admin.get_by_role("button", name="Close the study…").click()
        admin.get_by_role("button", name="Close the study", exact=True).click()
        admin.wait_for_selector("text=Closed")
        assert admin.is_visible("th:has-text('base'), th:has-text('calibrated'), th:has-text('shuffled')")
        with admin.expect_download() as download:
            admin.get_by_role("link", name="Export JSONL").click()
        assert download.value.suggested_filename == "ratings.jsonl"
    context.close()


@pytest.mark.slow
def test_links_are_copied(browser: Any, tmp_path: Path) -> None:
    outputs = write_outputs(tmp_path / "outputs", n_prompts=1)
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    with RatingServer(tmp_path / "study", outputs, form="acceptable", annotators=1) as server:
        page.goto(server.admin)
        page.get_by_role("button", name="Copy the link of r1").click()
        page.wait_for_selector("text=Copied.")
        assert page.evaluate("navigator.clipboard.readText()") == server.links[0]
    context.close()
