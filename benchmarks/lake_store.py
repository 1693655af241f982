"""Requests and seconds of a lake in an object store: of a flush, and of an hour.

The store is the S3 server of the tests on this machine, so the seconds are those of the work and of
a store without any distance; each request then takes as long as the way to a real one. What a store
asks for requests follows from their number.
"""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import pyarrow as pa

from benchmarks.full_fleet import FullFleet
from benchmarks.lake_day import tables_of
from benchmarks.lake_fill import FILES_AN_HOUR
from benchmarks.lake_work import THE_HOUR
from benchmarks.table import Row
from lake import STREAMS, Lake, Stream, append_once, compact_hour, read_delivered_horizon
from tests.harness.object_store import ObjectStore, object_store, s3_server

_METHODS: Final = ("GET", "HEAD", "PUT", "POST", "DELETE")


@dataclass(frozen=True)
class _Cost:
    """Requests by method, and seconds."""

    requests: Counter[str]
    seconds: float


def requests_of_a_store(fleet: FullFleet) -> list[Row]:
    """Deliver an hour of a fleet by a flush a minute, compact it, and compute its tables."""
    with s3_server() as s3, object_store(s3) as store:
        lake = store.lake("benchmark")
        lake.create_tables()
        flushes = [
            _measured(store, flush)
            for stream in STREAMS.values()
            for flush in _flushes(lake, fleet, stream)
        ]
        compaction = _measured(store, partial(_compact, lake))
        tables = _measured(store, partial(tables_of, lake))
    return [
        *_rows("a flush of a stream to a store", flushes),
        *_rows("an hour compacted in a store", [compaction]),
        *_rows("the tables of an hour and its day in a store", [tables]),
    ]


def _flushes(lake: Lake, fleet: FullFleet, stream: Stream) -> Iterator[Callable[[], None]]:
    """The flushes of an hour, each to be called once, before the next."""
    received = fleet.hour(stream, THE_HOUR)
    delivered = read_delivered_horizon(lake, stream, "benchmark")

    def flush(rows: pa.Table, horizon: int) -> None:
        nonlocal delivered
        delivered = append_once(lake, stream, rows, "benchmark", horizon, delivered)

    for n, rows in enumerate(received.iter_slices(-(-received.height // FILES_AN_HOUR)), start=1):
        yield partial(flush, rows.to_arrow(), n)


def _compact(lake: Lake) -> None:
    for stream in STREAMS.values():
        compact_hour(lake, stream, THE_HOUR)


def _measured(store: ObjectStore, work: Callable[[], object]) -> _Cost:
    before, began = Counter(store.requests()), time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    return _Cost(Counter(store.requests()) - before, seconds)


def _rows(title: str, costs: Sequence[_Cost]) -> list[Row]:
    by_method = ", ".join(
        f"{statistics.median(cost.requests[method] for cost in costs):g} {method}"
        for method in _METHODS
        if any(cost.requests[method] for cost in costs)
    )
    return [
        Row(title, "requests", [cost.requests.total() for cost in costs], cells={"of": by_method}),
        Row(f"  {title}", "s", [cost.seconds for cost in costs]),
    ]
