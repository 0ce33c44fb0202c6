"""Nothing is lost: two tabs, the back button, a killed server, a lost network, a closed tab, a withdrawn link."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rating_study import RatingServer, consent, leave_with, rate_page, ready, said, saved, write_outputs

N_QUESTIONS = 12
"""Of a page: four about each of three texts."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RatingServer]:
    folder = tmp_path_factory.mktemp("saving")
    outputs = write_outputs(folder / "outputs", n_prompts=2)
    with RatingServer(folder / "study", outputs, form="rule-of-thumb", annotators=13, annotators_per_item=13) as found:
        yield found


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    found = browser.new_context()
    yield found
    found.close()


def labels_of(server: RatingServer, annotator: str) -> list[str]:
    """What one annotator's confirmed answers are, sorted."""
    return sorted(label for (name, _, _), label in server.answers().items() if name == annotator)


def checked(page: Any) -> list[str]:
    found: list[str] = page.eval_on_selector_all("fieldset.question :checked", "all => all.map(radio => radio.value)")
    return found


def current(page: Any) -> int:
    """The number of the question that keys go to, from 0."""
    found: int = page.evaluate(
        "() => [...document.querySelectorAll('fieldset.question')].findIndex((q) => 'current' in q.dataset)"
    )
    return found


def test_keys_choose_go_on_and_go_back(server: RatingServer, context: Any) -> None:
    """Digits choose; Enter asks for an answer first; left goes back and changes nothing."""
    page = context.new_page()
    consent(page, server.links[0])
    page.keyboard.press("Enter")
    assert (current(page), page.inner_text("#status")) == (0, "Choose an answer first: 1 to 2.")
    page.keyboard.press("7")
    assert checked(page) == []
    page.keyboard.press("2")
    saved(page, f"1 of {N_QUESTIONS}")
    page.keyboard.press("Enter")
    page.keyboard.press("3")
    page.keyboard.press("ArrowLeft")
    assert (current(page), checked(page)) == (0, ["yes", "3"])
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert (current(page), checked(page)) == (1, ["yes", "4"])
    saved(page, f"2 of {N_QUESTIONS}")
    page.keyboard.press("Control+1")
    assert checked(page) == ["yes", "4"]
    french_5 = {"key": "(", "code": "Digit5", "bubbles": True}
    page.evaluate("key => document.activeElement.dispatchEvent(new KeyboardEvent('keydown', key))", french_5)
    assert checked(page) == ["yes", "5"]
    saved(page, f"2 of {N_QUESTIONS}")
    assert labels_of(server, "r1") == ["5", "yes"]


def test_left_returns_to_the_last_question_of_the_page_before(server: RatingServer, context: Any) -> None:
    page = context.new_page()
    consent(page, server.links[1])
    rate_page(page, turn=0)
    ready(page)
    assert page.title().startswith("Page 2")
    leave_with(page, "ArrowLeft")
    ready(page)
    assert (page.title()[:6], current(page), len(checked(page))) == ("Page 1", N_QUESTIONS - 1, N_QUESTIONS)
    page.keyboard.press("1")
    saved(page, f"{N_QUESTIONS} of {N_QUESTIONS}")
    leave_with(page, "Enter")
    page.goto(server.links[1])
    assert page.title().startswith("Page 2")  # resumed at the first unanswered


@pytest.mark.slow
def test_reload_and_back_button_show_what_is_saved(server: RatingServer, context: Any) -> None:
    page = context.new_page()
    consent(page, server.links[2])
    typed = rate_page(page, turn=1)
    page.go_back()
    ready(page)
    assert checked(page) == list(typed.values())
    page.reload()
    ready(page)
    assert checked(page) == list(typed.values())
    saved(page, f"{N_QUESTIONS} of {N_QUESTIONS}")


def test_two_tabs_show_the_same_and_the_last_answer_holds(server: RatingServer, context: Any) -> None:
    one, other = context.new_page(), context.new_page()
    consent(one, server.links[3])
    other.goto(one.url)
    ready(other)
    one.keyboard.press("2")
    other.wait_for_function("() => document.querySelector('fieldset.question :checked')?.value === 'yes'")
    other.keyboard.press("1")
    one.wait_for_function("() => document.querySelector('fieldset.question :checked')?.value === 'no'")
    saved(one, f"1 of {N_QUESTIONS}")
    assert labels_of(server, "r4") == ["no"]


def test_answers_wait_for_the_network(server: RatingServer, context: Any) -> None:
    """The page says so, waits with going on, and goes on by itself."""
    page = context.new_page()
    consent(page, server.links[4])
    context.set_offline(True)
    for place in range(N_QUESTIONS):
        page.keyboard.press("1")
        if place + 1 < N_QUESTIONS:
            page.keyboard.press("Enter")
    said(page, f"No connection: {N_QUESTIONS} answers are kept on this device and will be sent.")
    page.keyboard.press("Enter")
    assert labels_of(server, "r5") == []
    context.set_offline(False)
    page.wait_for_function("() => document.title.startsWith('Page 2')")
    assert labels_of(server, "r5") == ["1"] * 9 + ["no"] * 3


def test_a_tab_closed_without_network_loses_nothing(server: RatingServer, context: Any) -> None:
    page = context.new_page()
    consent(page, server.links[5])
    context.set_offline(True)
    page.keyboard.press("2")
    said(page, "No connection: 1 answer is kept on this device")
    page.close()
    context.set_offline(False)
    assert labels_of(server, "r6") == []
    page = context.new_page()
    page.goto(server.links[5])
    saved(page, f"1 of {N_QUESTIONS}")
    assert (checked(page), labels_of(server, "r6")) == (["yes"], ["yes"])


@pytest.mark.slow
def test_a_page_is_skipped_with_a_reason(server: RatingServer, context: Any) -> None:
    page = context.new_page()
    consent(page, server.links[6])
    first = page.url
    page.focus("[data-opens=skip]")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.type("too near")
    leave_with(page, "Enter")
    assert page.title().startswith("Page 2")
    page.goto(first)
    assert "You skipped this page (“It upsets me: too near”)" in page.inner_text("main")


def test_instructions_open_again_and_keys_rest_meanwhile(server: RatingServer, context: Any) -> None:
    page = context.new_page()
    consent(page, server.links[7])
    page.click("text=Instructions")
    assert page.is_visible("text=say what is good or bad to do")
    page.keyboard.press("2")
    page.keyboard.press("Escape")
    assert (page.is_visible("text=say what is good or bad to do"), checked(page)) == (False, [])


@pytest.mark.slow
def test_a_withdrawn_link_is_said_and_answers_are_not_dropped(server: RatingServer, context: Any) -> None:
    page = context.new_page()
    consent(page, server.links[8])
    admin = context.new_page()
    admin.goto(server.admin)
    row = admin.locator("tr", has=admin.get_by_role("rowheader", name="r9", exact=True))
    row.get_by_role("button", name="Revoke").click()
    admin.wait_for_selector("text=(revoked)")
    page.keyboard.press("2")
    page.wait_for_selector("#notice:not([hidden])")
    assert "This link was withdrawn" in page.inner_text("#notice")
    assert page.evaluate("localStorage.length") == 1


def test_an_outdated_page_renews_itself(server: RatingServer, context: Any) -> None:
    """Without the cookie the answer is refused; the page fetches what it needs and sends it again."""
    page = context.new_page()
    consent(page, server.links[9])
    context.clear_cookies()
    page.keyboard.press("2")
    saved(page, f"1 of {N_QUESTIONS}")
    assert labels_of(server, "r10") == ["yes"]


def test_a_refused_answer_is_said_and_the_servers_state_shown(server: RatingServer, context: Any) -> None:
    page = context.new_page()
    consent(page, server.links[10])
    page.keyboard.press("2")
    saved(page, f"1 of {N_QUESTIONS}")
    page.route("**/answers", lambda route: route.fulfill(status=422, json={"error": "There is no such label."}))
    page.keyboard.press("1")
    page.wait_for_selector("#notice:not([hidden])")
    expected = "There is no such label. Please look at your answers on this page again."
    assert page.inner_text("#notice") == expected
    page.wait_for_function("() => document.querySelector('fieldset.question :checked')?.value === 'yes'")
    page.unroute("**/answers")
    page.keyboard.press("1")
    page.wait_for_function("() => document.querySelector('fieldset.question').dataset.state === 'saved'")
    saved(page, f"1 of {N_QUESTIONS}")
    assert (labels_of(server, "r11"), page.is_visible("#notice")) == (["no"], True)


@pytest.mark.slow
def test_browsers_without_storage_and_locks_still_wait_for_the_network(server: RatingServer, context: Any) -> None:
    """Storage may be forbidden, and there are no locks outside https and loopback."""
    context.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('forbidden') } });"
        "Object.defineProperty(navigator, 'locks', { value: undefined });"
    )
    page = context.new_page()
    consent(page, server.links[12])
    context.set_offline(True)
    for key in "25":
        page.keyboard.press(key)
        page.keyboard.press("Enter")
    said(page, "No connection: 2 answers are kept on this device")
    context.set_offline(False)
    saved(page, f"2 of {N_QUESTIONS}")
    assert labels_of(server, "r13") == ["5", "yes"]


def test_a_full_storage_loses_no_answer(browser: Any, tmp_path: Path) -> None:
    """Two answers without network and with the quota used up; they are sent when it is back."""
    outputs = write_outputs(tmp_path / "outputs", n_prompts=1)
    context = browser.new_context()
    page = context.new_page()
    with RatingServer(tmp_path / "study", outputs, form="rule-of-thumb", annotators=1) as server:
        consent(page, server.links[0])
        page.evaluate(
            """() => {
                for (let size = 5_000_000; size >= 1; size = Math.floor(size / 2)) {
                    try { for (let n = 0; ; n += 1) localStorage.setItem(`${size} ${n}`, "x".repeat(size)); } catch {}
                }
            }"""
        )
        context.set_offline(True)
        for key in "25":
            page.keyboard.press(key)
            page.keyboard.press("Enter")
        said(page, "No connection: 2 answers are kept")
        context.set_offline(False)
        saved(page, f"2 of {N_QUESTIONS}")
        assert labels_of(server, "r1") == ["5", "yes"]
    context.close()


@pytest.mark.slow
def test_answers_wait_while_the_study_is_paused(server: RatingServer, context: Any) -> None:
    page, admin = context.new_page(), context.new_page()
    consent(page, server.links[11])
    admin.goto(server.admin)
    admin.get_by_role("button", name="Pause").click()
    admin.wait_for_selector("text=Paused")
    page.keyboard.press("2")
    said(page, "The study is paused.")
    admin.get_by_role("button", name="Go on").click()
    admin.wait_for_selector("text=Open")
    page.evaluate("() => dispatchEvent(new Event('online'))")
    saved(page, f"1 of {N_QUESTIONS}")
    assert labels_of(server, "r12") == ["yes"]


def test_a_killed_server_loses_nothing(browser: Any, tmp_path: Path) -> None:
    """Two answers are confirmed, then the server is killed, then two more are given; all four are there at the end."""
    outputs = write_outputs(tmp_path / "outputs", n_prompts=1)
    context = browser.new_context()
    page = context.new_page()
    with RatingServer(tmp_path / "study", outputs, form="rule-of-thumb", annotators=1) as server:
        consent(page, server.links[0])
        for key in "23":
            page.keyboard.press(key)
            page.keyboard.press("Enter")
        saved(page, f"2 of {N_QUESTIONS}")
        server.stop(signal.SIGKILL)
        for key in "45":
            page.keyboard.press(key)
            page.keyboard.press("Enter")
        said(page, "No connection: 2 answers are kept")
        server.start()
        saved(page, f"4 of {N_QUESTIONS}")
        assert {question: label for (_, _, question), label in server.answers().items()} == {
            "well_formedness": "yes",
            "fluency": "3",
            "relevance": "4",
            "global_consensus": "5",
        }
    context.close()


@pytest.mark.slow
def test_no_system_is_named_in_the_network_traffic(browser: Any, tmp_path: Path) -> None:
    outputs = write_outputs(tmp_path / "outputs", n_prompts=3)
    context = browser.new_context()
    page = context.new_page()
    seen: list[str] = []
    page.on("response", lambda response: seen.append(response.url + str(response.request.post_data)))
    with RatingServer(tmp_path / "study", outputs, form="acceptable", annotators=1) as server:
        consent(page, server.links[0])
        for _ in range(3):
            seen.append(page.content())
            rate_page(page, turn=0)
        assert page.inner_text("h1") == "Thank you, that was all"
        assert len(server.answers()) == 3
    context.close()
    assert [found for found in seen if re.search(r"base|calibrated|shuffled|\bp[012]\b|outputs", found)] == []
