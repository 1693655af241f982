"""Access to the lake for requests: a thread pool, and one error for whatever fails."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Final, ParamSpec, TypeVar

import polars as pl
from deltalake.exceptions import DeltaError

from lake import LakeError

# Threads of their own: a store that does not answer keeps them all for minutes, and no heartbeat
# that is to be unpacked on a thread may wait behind that.
_THREADS: Final = ThreadPoolExecutor(6, "lake-reading")

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def in_lake_thread(read: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run a function that reads the lake on a thread, and return its result."""
    return await asyncio.get_running_loop().run_in_executor(
        _THREADS, partial(read, *args, **kwargs)
    )


class LakeUnreadable(LakeError):
    """The store does not answer, or a file in it is damaged."""


@contextmanager
def reading_the_lake() -> Iterator[None]:
    """Raise LakeUnreadable for whatever a read of the lake fails with."""
    try:
        yield
    except (
        DeltaError,
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,  # of a damaged file; not an Exception by its class
        OSError,
    ) as error:
        raise LakeUnreadable(f"{type(error).__name__}: {error}") from error
