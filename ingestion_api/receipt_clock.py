"""Times of receipt that never repeat or step back, so that "the latest received" is one row."""

import time
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from lake import METER, Stream
from lake.streams import TIMESTAMP

_RECEIVED_AT: Final = METER.arrow_schema.field("received_at")  # the same in every stream


class ReceiptClock:
    """The clock of one process; not for use from several threads."""

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self._last = 0

    def stamp(self, stream: Stream, rows: pa.Table) -> pa.Table:
        """The rows with `received_at`, later than on any row that was stamped before.

        Rows of one call share a time, which packs well in the lake; only repeats of an identity
        are a microsecond apart, in the order of arrival.
        """
        start = max(self._now_ns() // 1000, self._last + 1)
        repeats = _repeats(stream, rows)
        micros = np.full(rows.num_rows, start, np.int64)
        if repeats is not None:
            micros += repeats
        self._last = int(micros.max())
        return rows.append_column(_RECEIVED_AT, pa.array(micros).view(TIMESTAMP))


def _repeats(stream: Stream, rows: pa.Table) -> npt.NDArray[np.int64] | None:
    """How often each row's identity came before it in `rows`; None if no device comes twice."""
    if rows.num_rows == 1 or pc.count_distinct(rows[stream.device]).as_py() == rows.num_rows:
        return None
    keys = pl.DataFrame(rows.select(list(stream.key)))
    earlier = keys.select(pl.int_range(pl.len(), dtype=pl.Int64).over(list(stream.key)))
    return earlier.to_series().to_numpy()
