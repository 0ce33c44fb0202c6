"""One browser for all tests of a process."""

from collections.abc import Iterator
from typing import Any

import pytest

import rating_study


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with rating_study.chromium() as found:
        yield found
