"""The engine and the optimizations with which Polars plans are collected."""

from typing import Final

import polars as pl

# Small frames: what an optimizer saves is less than what it takes.
NO_OPTIMIZATIONS: Final = pl.QueryOptFlags.none()
# The engine for what is sorted by device and time: half the work of the default, which streams, and
# has to bring rows into order again after each of its steps.
IN_MEMORY: Final = "in-memory"
