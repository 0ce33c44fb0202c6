"""The pictures of docs/rating.md: `python tests/rating_screenshots.py docs/images` makes rating-*.png anew.

A study of the embedded sample of `accord demo`: two written replies to each message, as if two systems had made them.
"""

import json
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

from rating_study import RatingServer, chromium, consent, rate_page, ready, saved

N_PROMPTS = 6
KINDS = {"system-a": "complex reflection", "system-b": "advise without permission"}
DESKTOP, PHONE = {"width": 1180, "height": 860}, {"width": 320, "height": 640}


def sample_outputs(folder: Path) -> list[Path]:
    lines = (resources.files("accord.demo") / "pack.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    found = [row for row in rows if set(KINDS.values()) <= {reply["kind"] for reply in row["replies"]}][:N_PROMPTS]
    paths = []
    for system, kind in KINDS.items():
        outputs = [
            {
                "id": row["id"],
                "prompt": [{"role": "user", "content": row["message"]}],
                "completion": next(reply["text"] for reply in row["replies"] if reply["kind"] == kind),
                "system": system,
            }
            for row in found
        ]
        paths.append(folder / f"{system}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in outputs), encoding="utf-8")
    return paths


def main(images: Path) -> None:
    """Write the pictures into `images`."""
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        outputs = sample_outputs(Path(folder))
        with RatingServer(Path(folder) / "study", outputs, annotators=4, annotators_per_item=4) as server:
            _annotator_pages(browser, server, images)
            _phone_page(browser, server, images)
            _admin_page(browser, server, images)


def _annotator_pages(browser: Any, server: RatingServer, images: Path) -> None:
    page = browser.new_context(viewport=DESKTOP).new_page()
    page.goto(server.links[0])
    page.screenshot(path=images / "rating-welcome.png")
    consent(page, server.links[0])
    _answer_some(page)
    page.evaluate("() => scrollTo(0, 0)")
    page.screenshot(path=images / "rating-task-light.png")
    page.emulate_media(color_scheme="dark")
    page.screenshot(path=images / "rating-task-dark.png")
    page.emulate_media(color_scheme="light")
    for turn in range(N_PROMPTS):
        ready(page)
        page.evaluate("() => scrollTo(0, 0)")
        rate_page(page, turn=turn)
    page.screenshot(path=images / "rating-done.png")


def _answer_some(page: Any) -> None:
    for key in "434":
        page.keyboard.press(key)
        page.keyboard.press("Enter")
    saved(page, "3 of 10")


def _phone_page(browser: Any, server: RatingServer, images: Path) -> None:
    context = browser.new_context(viewport=PHONE, is_mobile=True, has_touch=True, device_scale_factor=2)
    page = context.new_page()
    consent(page, server.links[1])
    page.keyboard.press("4")
    saved(page, "1 of 10")
    page.screenshot(path=images / "rating-task-320.png")
    _rate_two_pages(page)


def _rate_two_pages(page: Any) -> None:
    """Answer this page and the next, so that the admin page has something to show."""
    page.evaluate("() => document.querySelector('fieldset.question input').focus()")
    rate_page(page, turn=1)
    ready(page)
    rate_page(page, turn=3)


def _admin_page(browser: Any, server: RatingServer, images: Path) -> None:
    page = browser.new_context(viewport=DESKTOP).new_page()
    consent(page, server.links[2])
    for turn in range(4):
        ready(page)
        rate_page(page, turn=turn)
    page.goto(server.admin)
    page.screenshot(path=images / "rating-admin.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
