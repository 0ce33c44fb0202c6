"""One bar at a time, on a terminal only."""

import io
import sys

import pytest

from accord.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def look(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard error as a terminal; called in the test, because pytest puts its own there before."""
    found = Terminal()
    monkeypatch.setattr(sys, "stderr", found)
    monkeypatch.setenv("TERM", "xterm")
    for name in ("ACCORD_NO_PROGRESS", "RANK"):
        monkeypatch.delenv(name, raising=False)
    return found


def test_a_bar_inside_another_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = look(monkeypatch)
    with progress("Recovering", 2) as advance, progress("Fitting heads", 5) as inner:
        inner(5)
        advance(2)
    shown = terminal.getvalue()
    assert "Recovering" in shown
    assert "2/2" in shown
    assert "Fitting heads" not in shown


def test_the_next_bar_is_shown_even_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = look(monkeypatch)
    with pytest.raises(ValueError, match="stop"), progress("First", 1):
        raise ValueError("stop")
    with progress("Second", 1) as advance:
        advance(1)
    assert "Second" in terminal.getvalue()


def test_silent_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = look(monkeypatch)
    monkeypatch.setenv("ACCORD_NO_PROGRESS", "1")
    with progress("Recovering", 1) as advance:
        advance(1)
    assert terminal.getvalue() == ""
