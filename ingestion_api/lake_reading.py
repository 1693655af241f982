"""The lake as a reader of the API finds it: there, or not readable right now."""

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
from deltalake.exceptions import DeltaError

from lake import LakeError


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
