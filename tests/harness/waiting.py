"""Waiting for a condition with a time limit."""

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def wait_for(
    condition: Callable[[], _T | None],
    seconds: float = 120,
    *,
    describe: Callable[[], str] = lambda: "",
    meanwhile: Callable[[], object] = lambda: None,
    pause: float = 0.05,
) -> _T:
    """Return the value of the condition once it is true; AssertionError if it is not in time.

    `describe` adds to the error; `meanwhile` is called between two tries.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        meanwhile()
        assert time.monotonic() < deadline, f"waited too long: {describe()}"
        time.sleep(pause)
    return value
