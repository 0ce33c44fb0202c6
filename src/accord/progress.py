"""One progress bar with remaining time, on standard error, for everything that may take longer than two seconds."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_IS_SHOWN = ContextVar("a bar is on the screen", default=False)


@contextmanager
def progress(label: str, total: int, *, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Yield `advance(n)`. Silent where standard error is no terminal or ACCORD_NO_PROGRESS is set, in all but the first
    of several processes (RANK), and inside another one: the outer bar tells how far the whole is.

    Args:
        label: what is being done, e.g. "Scoring".
        total, done: units of work in all and already finished (after a resume).
    """
    is_quiet = not sys.stderr.isatty() or os.environ.get("ACCORD_NO_PROGRESS") or os.environ.get("RANK", "0") != "0"
    if is_quiet or _IS_SHOWN.get():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, completed=done)
        token = _IS_SHOWN.set(True)
        try:
            yield lambda n: bar.advance(task, n)
        finally:
            _IS_SHOWN.reset(token)
