"""Whole studies in a real browser, by keyboard alone: the export is what was typed."""

from pathlib import Path
from typing import Any

import pytest

from rating_study import RatingServer, consent, rate_page, write_outputs


def rate_everything(page: Any, link: str, *, turn: int, n_pages: int) -> dict[tuple[str, str], str]:
    consent(page, link)
    typed: dict[tuple[str, str], str] = {}
    for number in range(1, n_pages + 1):
        assert page.title().startswith(f"Page {number} of {n_pages}")
        typed |= rate_page(page, turn=turn)
    assert page.inner_text("h1") == "Thank you, that was all"
    return typed


def run_study(browser: Any, folder: Path, *, n_annotators: int, n_prompts: int, form: str) -> None:
    outputs = write_outputs(folder / "outputs", n_prompts=n_prompts)
    flags: dict[str, str | int] = {"form": form, "annotators": n_annotators, "annotators_per_item": n_annotators}
    typed: dict[tuple[str, str, str], str] = {}
    with RatingServer(folder / "study", outputs, **flags) as server:
        for turn, link in enumerate(server.links):
            context = browser.new_context()
            found = rate_everything(context.new_page(), link, turn=turn, n_pages=n_prompts)
            typed |= {(f"r{turn + 1}", *key): label for key, label in found.items()}
            context.close()
        assert server.answers() == typed
        rows = server.exported()
    assert len(rows) == 3 * n_prompts
    assert {(row["completion"], row["system"]) for row in rows} == {
        (f"Reply {number}{system[0]} to you.", system)
        for number in range(n_prompts)
        for system in ("base", "calibrated", "shuffled")
    }


def test_a_small_study_by_keyboard_alone(browser: Any, tmp_path: Path) -> None:
    run_study(browser, tmp_path, n_annotators=1, n_prompts=2, form="rule-of-thumb")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_three_annotators_twenty_prompts_three_systems(browser: Any, tmp_path: Path) -> None:
    run_study(browser, tmp_path, n_annotators=3, n_prompts=20, form="emotional-support")
