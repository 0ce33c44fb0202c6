"""A study and the browsers of its annotators, without a browser and without a socket."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from accord.json_files import write_jsonl
from accord.rating.annotators import invite_until, read_annotators
from accord.rating.app import build_app
from accord.rating.draft import StudyInputs
from accord.rating.security import addresses
from accord.rating.settings import RateSettings, ServeSettings
from accord.rating.store import Store
from accord.rating.study import load_study, open_study
from accord.records import Message, Output

ORIGIN = "http://127.0.0.1:8765"
SYSTEMS = ("base", "calibrated", "human")


def outputs_file(path: Path, system: str, *, n_prompts: int = 4, samples: int = 1) -> Path:
    """One system's outputs: a chat for odd prompts, two prompts a group."""
    rows = [
        Output(
            id=f"p{number}",
            prompt=(Message("user", f"prompt {number}"),) if number % 2 else f"prompt {number}",
            completion=f"{system} answers {number} ({sample})",
            system=system,
            sample=sample,
            group=f"g{number // 2}",
        )
        for number in range(n_prompts)
        for sample in range(samples)
    ]
    write_jsonl(path, rows)
    return path


def make_study(
    folder: Path,
    *,
    n_prompts: int = 4,
    systems: tuple[str, ...] = SYSTEMS,
    annotators: int = 2,
    samples: int = 1,
    checks: Path | None = None,
    **settings: Any,
) -> Store:
    """A study of toy outputs with invited annotators, in `folder`/study."""
    paths = [outputs_file(folder / f"{name}.jsonl", name, n_prompts=n_prompts, samples=samples) for name in systems]
    chosen = RateSettings(**{"form": "rule-of-thumb", "annotators_per_item": 2, **settings})
    store = open_study(folder / "study", StudyInputs(paths, checks=checks), settings=chosen, seed=3)
    store.write_now(lambda connection: invite_until(connection, annotators))
    return store


def links(store: Store) -> list[str]:
    """The paths of all annotators' links, in order."""
    with store.snapshot() as connection:
        return [f"/a/{annotator.token}" for annotator in read_annotators(connection)]


def admin_path(store: Store) -> str:
    return f"/admin/{load_study(store).secret}"


def open_client(store: Store, **settings: Any) -> TestClient:
    """Something that asks the application as a browser at ORIGIN would; redirects are not followed."""
    where = addresses(ServeSettings(**settings), 8765)
    return TestClient(
        build_app(store, where), base_url=where.base, headers={"Origin": where.base}, follow_redirects=False
    )


def csrf_of(page: str) -> str:
    """The token in a page, as a form's field or as data of a script."""
    return re.findall(r'(?:name="csrf" value|data-csrf)="(\w+)"', page)[0]


Choose = Callable[[str, str, list[str]], str]
"""(completion, question, labels) -> label."""


def first_label(_completion: str, _question: str, labels: list[str]) -> str:
    return labels[0]


class Person:
    """An annotator at a browser."""

    def __init__(self, client: TestClient, link: str) -> None:
        self.client, self.link = client, link
        self.csrf = ""

    def agree(self, **traits: str) -> Any:
        page = self.client.get(f"{self.link}/welcome")
        fields = {"csrf": csrf_of(page.text), "consent": "yes", **traits}
        return self.client.post(f"{self.link}/welcome", data=fields)

    def open(self) -> str | None:
        """The page to go on with; None at the end."""
        where = self.client.get(self.link).headers["location"]
        return None if where.endswith("/done") else self.look(where)

    def look(self, path: str) -> str:
        response = self.client.get(path)
        assert response.status_code == 200, (path, response.status_code, response.headers)
        self.csrf = csrf_of(response.text)
        return response.text

    def save(self, item: str, question: str, label: str | None, **fields: Any) -> Any:
        body = {"item": item, "question": question, "label": label, "csrf": self.csrf, **fields}
        return self.client.put(f"{self.link}/answers", json=body)

    def skip(self, number: int, reason: str) -> Any:
        return self.client.post(f"{self.link}/tasks/{number}/skip", json={"reason": reason, "csrf": self.csrf})

    def rate_all(self, choose: Choose = first_label) -> dict[tuple[str, str], str]:
        """Answer page after page; (completion, question) -> the label given at its first meeting."""
        given: dict[tuple[str, str], str] = {}
        while (page := self.open()) is not None:
            for item, question, completion, labels in questions_of(page):
                chosen = choose(completion, question, labels)
                assert self.save(item, question, chosen).status_code == 200
                given.setdefault((completion, question), chosen)
        return given


def questions_of(page: str) -> list[tuple[str, str, str, list[str]]]:
    """(item, question, completion, labels) of every question on a page, in order."""
    found = []
    for article in page.split("<article")[1:]:
        completion = re.findall(r'<p class="said[^>]*>([^<]*)</p>', article)[0]
        for fieldset in article.partition("</article>")[0].split("<fieldset")[1:]:
            item = re.findall(r'data-item="([^"]+)"', fieldset)[0]
            question = re.findall(r'data-question="([^"]+)"', fieldset)[0]
            labels = re.findall(r'type="radio"[^>]* value="([^"]+)"', fieldset)
            found.append((item, question, completion, labels))
    return found


def completions_of(page: str) -> list[str]:
    """The texts of a page in the order shown."""
    return list(dict.fromkeys(completion for _, _, completion, _ in questions_of(page)))
