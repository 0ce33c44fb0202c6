"""A study as annotators meet it: `accord rate` in a process of its own, and a headless Chromium."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

CHROMIUM = os.environ.get("ACCORD_CHROMIUM") or shutil.which("chromium") or ""
"""The browser of the tests; without one they are skipped."""
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SYSTEMS = ("base", "calibrated", "shuffled")
START_SECONDS = 60.0


def write_outputs(folder: Path, *, n_prompts: int, systems: tuple[str, ...] = SYSTEMS) -> list[Path]:
    """Outputs of each system in a file of its own; every completion is unique."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for system in systems:
        rows = [
            {
                "id": f"p{number}",
                "prompt": [{"role": "user", "content": f"Prompt {number}: I lost my job."}],
                "completion": f"Reply {number}{system[0]} to you.",
                "system": system,
            }
            for number in range(n_prompts)
        ]
        paths.append(folder / f"{system}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return paths


class RatingServer:
    """`accord rate` as a process that can be killed and started again; a context that stops it at its end."""

    def __init__(self, study: Path, outputs: list[Path], **flags: str | int) -> None:
        self.study = study
        self.port = free_port()
        options = [text for flag, value in flags.items() for text in (f"--{flag.replace('_', '-')}", str(value))]
        self.command = [sys.executable, "-m", "accord.cli.main", "rate", *map(str, outputs), "--study", str(study)]
        self.command += ["--port", str(self.port), *options]
        self.admin = ""
        self.links: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop(signal.SIGTERM)

    def start(self) -> None:
        """Start, and wait until pages are served; `admin` and `links` are what it printed."""
        log = self.study.parent / f"{self.study.name}.log"
        with log.open("wb") as file:
            self._process = subprocess.Popen(self.command, stdout=file, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.05)
        printed = log.read_text(encoding="utf-8")
        self.admin = re.findall(r"http://\S+/admin/[\w-]+", printed)[0]
        self.links = re.findall(r"http://\S+/a/[\w-]+", printed)

    def stop(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None

    def exported(self) -> list[dict[str, Any]]:
        """The rows of the export that the admin page offers."""
        with urllib.request.urlopen(f"{self.admin}/export.jsonl") as response:
            return [json.loads(line) for line in response.read().splitlines()]

    def answers(self) -> dict[tuple[str, str, str], str]:
        """(annotator, completion, question) -> label, as exported."""
        return {
            (annotation["annotator"], row["completion"], annotation["question"]): annotation["label"]
            for row in self.exported()
            for annotation in row["annotations"]
        }

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=1):
                return True
        except OSError:
            return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium (playwright's Browser); skips the test where there is none."""
    if not CHROMIUM:
        pytest.skip("no Chromium: none on PATH, and ACCORD_CHROMIUM names none")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


# -- what an annotator does, with the keyboard alone ---------------------------------------------------------------


def consent(page: Any, link: str) -> None:
    """Open a personal link and agree: Tab to the box, Space, Tab to the button, Enter."""
    page.goto(link)
    tab_to(page, "#consent")
    page.keyboard.press("Space")
    tab_to(page, "button[type=submit]")
    page.keyboard.press("Enter")
    ready(page)


def tab_to(page: Any, selector: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement?.matches(selector)", selector):
            return
    raise AssertionError(f"Tab does not reach {selector}")


def ready(page: Any) -> None:
    """Wait until the page listens to keys."""
    page.wait_for_selector("html[data-ready]", state="attached")


def said(page: Any, start: str) -> None:
    """Wait until the page's status begins with `start`."""
    page.wait_for_function("start => document.getElementById('status').textContent.startsWith(start)", arg=start)


def saved(page: Any, count: str) -> None:
    """Wait until the page confirms: saved(page, "3 of 15")."""
    said(page, f"Saved {count}")


def rate_page(page: Any, *, turn: int) -> dict[tuple[str, str], str]:
    """Answer every question of the page, then Enter to the next one; (completion, question) -> the label typed.

    Labels depend on the text, the question and `turn`, so that no two annotators type the same.
    """
    asked = page.evaluate(
        """() => [...document.querySelectorAll("fieldset.question")].map((question) => ({
            completion: question.closest("article").querySelector(".said").textContent,
            name: question.dataset.question,
            labels: [...question.querySelectorAll("input")].map((radio) => [radio.dataset.key, radio.value]),
        }))"""
    )
    typed = {}
    for place, question in enumerate(asked):
        key, label = question["labels"][
            (sum(map(ord, question["completion"])) + 2 * place + turn) % len(question["labels"])
        ]
        page.keyboard.press(key)
        typed[question["completion"], question["name"]] = label
        if place + 1 < len(asked):
            page.keyboard.press("Enter")
    leave_with(page, "Enter")
    return typed


def leave_with(page: Any, key: str) -> None:
    """Press a key that goes to another page, and wait until that page is there."""
    page.evaluate("() => { document.documentElement.dataset.old = '' }")
    page.keyboard.press(key)
    page.wait_for_selector("html:not([data-old])", state="attached")
    page.wait_for_load_state()
