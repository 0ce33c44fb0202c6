"""One browser for all tests of a file."""

from collections.abc import Iterator
from typing import Any

import pytest

import rating_study


@pytest.fixture(scope="module")  # not longer: while it runs, asyncio.run fails in this process
def browser() -> Iterator[Any]:
    with rating_study.chromium() as found:
        yield found
