"""Prefetching: the next item is made while the one before it is in use."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


def prefetch(things: Iterable[_T]) -> Iterator[_T]:
    """Yield the items; each is made in another thread while its predecessor is in use.

    For who makes them, and who uses them, in libraries that let other threads run meanwhile.
    """
    waiting = iter(things)
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, waiting, None)
        while (thing := coming.result()) is not None:
            coming = thread.submit(next, waiting, None)
            yield thing
