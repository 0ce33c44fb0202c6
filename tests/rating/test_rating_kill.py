"""`accord rate` as a process: SIGKILL loses nothing that was confirmed, SIGTERM ends it in order."""

import signal
import subprocess
import threading
from pathlib import Path

import httpx2

from rating_clients import Person, questions_of
from rating_study import RatingServer, write_outputs

N_ANSWERS = 60
"""Confirmed when the server is killed, by three annotators at work."""


class Typist(threading.Thread):
    """An annotator who answers until the server is gone; `confirmed` is what it said is saved."""

    def __init__(self, name: str, link: str, enough: threading.Semaphore) -> None:
        super().__init__(name=name)
        self.origin, _, path = link.rpartition("/a/")
        self.path, self.enough = f"/a/{path}", enough
        self.confirmed: dict[tuple[str, str, str], str] = {}
        self.last: tuple[str, str, str] | None = None

    def run(self) -> None:
        client = httpx2.Client(base_url=self.origin, headers={"Origin": self.origin}, trust_env=False)
        person = Person(client, self.path)  # type: ignore[arg-type]  # of the same shape
        try:
            person.agree()
            while (page := person.open()) is not None:
                for item, question, completion, labels in questions_of(page):
                    self.last = (self.name, completion, question)
                    label = labels[len(self.confirmed) % len(labels)]
                    if person.save(item, question, label).status_code == 200:
                        self.confirmed[self.last] = label
                        self.enough.release()
        except httpx2.TransportError:  # killed
            pass
        finally:
            client.close()


def test_sigkill_loses_nothing_that_was_confirmed(tmp_path: Path) -> None:
    """What was on its way when the server died may be there or not; the study goes on where it was."""
    outputs = write_outputs(tmp_path / "outputs", n_prompts=20)
    server = RatingServer(tmp_path / "study", outputs, form="rule-of-thumb", annotators=3)
    with server:
        enough = threading.Semaphore(0)
        typists = [Typist(f"r{place + 1}", link, enough) for place, link in enumerate(server.links)]
        for typist in typists:
            typist.start()
        for _ in range(N_ANSWERS):
            assert enough.acquire(timeout=30)
        server.stop(signal.SIGKILL)
        for typist in typists:
            typist.join()
        confirmed = {key: label for typist in typists for key, label in typist.confirmed.items()}
        links = server.links
        server.start()
        found = server.answers()
        assert server.links == links
    assert len(confirmed) >= N_ANSWERS
    assert {key: found.get(key) for key in confirmed} == confirmed
    assert found.keys() - confirmed.keys() <= {typist.last for typist in typists}


def test_sigterm_ends_it_in_order(tmp_path: Path) -> None:
    """Exit code 0, one line on standard error, and the log folded into the file."""
    outputs = write_outputs(tmp_path / "outputs", n_prompts=1)
    with RatingServer(tmp_path / "study", outputs) as server:
        second = subprocess.run(
            [*server.command[:-2], "--port", "0"], capture_output=True, text=True, check=False, timeout=60
        )
        process = server._process
        assert process is not None
        server.stop(signal.SIGTERM)
    assert second.returncode == 2
    assert "another process is writing to" in second.stderr
    log = (tmp_path / "study.log").read_text(encoding="utf-8")
    assert log.splitlines()[-1] == (
        "accord: stopped. Every answer that was confirmed is saved; the same command goes on."
    )
    assert process.returncode == 0
    assert [path.name for path in (tmp_path / "study").glob("study.sqlite*")] == ["study.sqlite"]
