"""How long the rating page takes to save an answer when many annotators answer at once, and that it loses none.

`python benchmarks/rating_load.py`: starts `accord rate` as a process of its own on a loopback port it chooses itself,
with a study of made-up texts in a temporary folder, and plays its annotators over HTTP. Two loads: *waves*, in which
every annotator sends an answer at the same instant, waits for all confirmations, and sends the next; and *flood*, in
which everybody sends the next answer as soon as the last is confirmed. An answer counts as saved when the server has
confirmed it, which it does after the disk has (synchronous=FULL). Then the server is killed with SIGKILL, started
again, and its export compared with what was confirmed, answer by answer. Ends with 1 if any is missing, or if the
99th percentile of the waves is not below --limit-ms.

Clients and server share the machine, so the times include what the clients cost.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SYSTEMS = ("base", "calibrated", "human")
N_RETRIES = 50


def main() -> int:
    options = parse_options()
    with tempfile.TemporaryDirectory() as folder:
        command = rate_command(Path(folder), options)
        process, printed = start(command)
        try:
            found = asyncio.run(play(printed, options, process.pid))
        finally:
            process.kill()
            process.wait()
        process, printed = start(command)
        try:
            exported = asyncio.run(read_export(printed["admin"]))
        finally:
            process.terminate()
            process.wait()
    n_missing = sum(exported.get(key) != label for key, label in found.answers.items())
    n_unknown = len(exported.keys() - found.answers.keys())
    print(f"{len(printed['links'])} annotators, {os.cpu_count()} cores, {len(found.answers)} answers confirmed")
    for load, milliseconds in found.times.items():
        print(f"{load.ljust(6)} {summary(milliseconds, found.seconds[load])}")
        print(f"       server: {1000 * found.processor[load] / len(milliseconds):.2f} ms of processor time a save")
    print(f"after SIGKILL and restart: {n_missing} confirmed answers missing or changed, {n_unknown} that nobody sent")
    print(f"asked again after 429 or 503: {found.n_retries}")
    is_fast = percentile(found.times["waves"], 0.99) < options.limit_ms
    return 0 if is_fast and n_missing == n_unknown == 0 else 1


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--annotators", type=int, default=50)
    parser.add_argument("--answers", type=int, default=30, help="of each annotator under each load")
    parser.add_argument("--limit-ms", type=float, default=100.0, help="what the 99th percentile must stay below")
    return parser.parse_args()


# -- the server -------------------------------------------------------------------------------------------------


def rate_command(folder: Path, options: argparse.Namespace) -> list[str]:
    """The command line of a study big enough for all answers; its texts lie in `folder`."""
    per_prompt = 5 * len(SYSTEMS)
    n_prompts = -(-2 * options.answers // per_prompt) + 1
    paths = []
    for system in SYSTEMS:
        rows = [
            {"id": f"p{i}", "prompt": f"Prompt {i}: how are you?", "completion": f"{i} {system}", "system": system}
            for i in range(n_prompts)
        ]
        paths.append(folder / f"{system}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    n = str(options.annotators)
    flags = ["--study", str(folder / "study"), "--port", "0", "--annotators", n, "--annotators-per-item", n, "--json"]
    return [sys.executable, "-m", "accord.cli.main", "rate", *map(str, paths), *flags]


def start(command: Sequence[str]) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """The server's process, once it takes requests, and what it printed."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line == "}\n":
            return process, json.loads("".join(lines))
    raise SystemExit(f"the server did not start (exit code {process.wait()})")


# -- annotators -------------------------------------------------------------------------------------------------


class Found:
    """What came of the loads: confirmed answers by (annotator, text, question), and milliseconds of each save."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str, str], str] = {}
        self.times: dict[str, list[float]] = {"waves": [], "flood": []}
        self.seconds: dict[str, float] = {}
        self.processor: dict[str, float] = {}
        self.n_retries = 0


class Annotator:
    """An annotator's browser: one connection that is kept open."""

    def __init__(self, name: str, link: str, found: Found) -> None:
        self.name, self.found = name, found
        self.origin, self.path = re.findall(r"(http://[^/]+)(.*)", link)[0]
        self.cookie = self.csrf = ""
        self.open: list[tuple[str, str, str, list[str]]] = []

    async def connect(self) -> None:
        host, port = self.origin.removeprefix("http://").split(":")
        self.reader, self.writer = await asyncio.open_connection(host, int(port))

    async def begin(self) -> None:
        """Consent, and look at the first page."""
        await self.connect()
        page = await self.get(f"{self.path}/welcome")
        fields = f"csrf={csrf_of(page)}&consent=yes"
        status, _, _ = await self.ask("POST", f"{self.path}/welcome", fields, "application/x-www-form-urlencoded")
        assert status == 303, status
        await self.turn_page()

    async def turn_page(self) -> None:
        status, headers, body = await self.ask("GET", self.path)
        assert status == 303, (status, body)
        page = await self.get(headers["location"])
        self.csrf = csrf_of(page)
        self.open = questions_of(page)

    async def answer(self, load: str) -> None:
        """Save the next answer, again if the server asks for it, and note how long it took until it was confirmed."""
        item, question, completion, labels = self.open.pop()
        label = labels[sum(map(ord, completion + question + self.name)) % len(labels)]
        body = json.dumps({"item": item, "question": question, "label": label, "csrf": self.csrf, "sent": time.time()})
        began = time.perf_counter()
        for _ in range(N_RETRIES):
            status, headers, text = await self.ask("PUT", f"{self.path}/answers", body, "application/json")
            if status not in (429, 503):
                break
            self.found.n_retries += 1
            await asyncio.sleep(float(headers.get("retry-after", 1)))
        assert status == 200, (status, text)
        self.found.times[load].append(1000 * (time.perf_counter() - began))
        self.found.answers[self.name, completion, question] = label

    async def get(self, path: str) -> str:
        status, _, body = await self.ask("GET", path)
        assert status == 200, (status, path)
        return body

    async def ask(self, method: str, path: str, body: str = "", kind: str = "") -> tuple[int, dict[str, str], str]:
        host = self.origin.removeprefix("http://")
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Cookie: {self.cookie}"]
        if method != "GET":
            lines += [f"Origin: {self.origin}", f"Content-Type: {kind}", f"Content-Length: {len(body.encode())}"]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        await self.writer.drain()
        first, *rest = (await self.reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
        if "set-cookie" in headers:
            self.cookie = headers["set-cookie"].partition(";")[0]
        content = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(first.split()[1]), headers, content.decode()


async def play(printed: dict[str, Any], options: argparse.Namespace, server: int) -> Found:
    """Both loads, one after the other; `server` is the process that is asked."""
    found = Found()
    annotators = [Annotator(name, link, found) for name, link in printed["links"].items()]
    for annotator in annotators:
        await annotator.begin()
    for load, run in (("waves", waves), ("flood", flood)):
        began, used = time.perf_counter(), processor_seconds(server)
        await run(annotators, options.answers)
        found.seconds[load] = time.perf_counter() - began
        found.processor[load] = processor_seconds(server) - used
    for annotator in annotators:
        annotator.writer.close()
    return found


async def waves(annotators: Sequence[Annotator], n_answers: int) -> None:
    """All send at the same instant, and wait for all; pages are turned between the waves."""
    for _ in range(n_answers):
        await asyncio.gather(*(annotator.answer("waves") for annotator in annotators))
        for annotator in annotators:
            if not annotator.open:
                await annotator.turn_page()


async def flood(annotators: Sequence[Annotator], n_answers: int) -> None:
    """Everybody goes on at once, page after page."""

    async def rush(annotator: Annotator) -> None:
        for _ in range(n_answers):
            await annotator.answer("flood")
            if not annotator.open:
                await annotator.turn_page()

    await asyncio.gather(*map(rush, annotators))


async def read_export(admin: str) -> dict[tuple[str, str, str], str]:
    """(annotator, text, question) -> label."""
    reader = Annotator("admin", admin, Found())
    await reader.connect()
    rows = [json.loads(line) for line in (await reader.get(f"{reader.path}/export.jsonl")).splitlines()]
    reader.writer.close()
    return {
        (rating["annotator"], row["completion"], rating["question"]): rating["label"]
        for row in rows
        for rating in row["annotations"]
    }


def processor_seconds(process: int) -> float:
    """User and system time of a process so far; nan where there is no /proc (proc_pid_stat(5), fields 14 and 15)."""
    path = Path(f"/proc/{process}/stat")
    if not path.exists():
        return float("nan")
    fields = path.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def csrf_of(page: str) -> str:
    return re.findall(r'(?:name="csrf" value|data-csrf)="(\w+)"', page)[0]


def questions_of(page: str) -> list[tuple[str, str, str, list[str]]]:
    """(item, question, text, labels) of every question on a page."""
    found = []
    for article in page.split("<article")[1:]:
        completion = re.findall(r'<p class="said[^>]*>([^<]*)</p>', article)[0]
        for fieldset in article.partition("</article>")[0].split("<fieldset")[1:]:
            names = re.findall(r'data-item="([^"]+)" data-question="([^"]+)"', fieldset)[0]
            found.append((*names, completion, re.findall(r'type="radio"[^>]* value="([^"]+)"', fieldset)))
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed."""
    return sorted(values)[max(0, -(-int(share * len(values) * 1000) // 1000) - 1)]


def summary(milliseconds: Sequence[float], seconds: float) -> str:
    shown = {"p50": percentile(milliseconds, 0.5), "p99": percentile(milliseconds, 0.99), "max": max(milliseconds)}
    numbers = "  ".join(f"{name} {value:6.1f} ms" for name, value in shown.items())
    return f"{numbers}  {len(milliseconds)} saves, {len(milliseconds) / seconds:.0f} a second"


if __name__ == "__main__":
    sys.exit(main())
