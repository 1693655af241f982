"""`python -m benchmarks.lake_work WORK FOLDER ...`: one piece of work on a lake, timed by itself.

A process of its own, so that its peak of memory is its own. Prints one JSON object.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import polars as pl

from benchmarks.lake_day import DAY, Figures, tables
from lake import HOUR, STREAMS, Lake, compact_hour, replace_hours
from lake.schema.history import history_table

THE_HOUR: Final = DAY + 8 * HOUR
_KIB: Final = 1024


def bare(folder: Path) -> Figures:
    """Read, sort and write the raw files of the hour with nothing but Polars."""
    lake = Lake(str(folder))
    files = {s.name: lake.open(s.raw_table).file_uris() for s in STREAMS.values()}
    began = time.perf_counter()
    for stream in STREAMS.values():
        rows = pl.scan_parquet(files[stream.name], hive_partitioning=True).sort(stream.key)
        rows.collect().write_parquet(
            folder / "bare.parquet", compression="zstd", compression_level=3
        )
    return {"seconds": time.perf_counter() - began}


def compact(folder: Path) -> Figures:
    """Compact the hour, which the history does not hold before."""
    lake = Lake(str(folder))
    for stream in STREAMS.values():
        spec = history_table(stream)
        empty = pl.DataFrame(spec.schema.empty_table())
        replace_hours(lake, spec, empty, THE_HOUR, THE_HOUR + HOUR)
    began = time.perf_counter()
    done = [compact_hour(lake, stream, THE_HOUR) for stream in STREAMS.values()]
    seconds = time.perf_counter() - began
    rows = {
        stream.name: compaction.rows
        for stream, compaction in zip(STREAMS.values(), done, strict=True)
    }
    return {"seconds": seconds, **rows, "raw": sum(compaction.raw_rows for compaction in done)}


_WORK: Final[dict[str, Callable[[Path], Figures]]] = {
    "bare": bare,
    "compact": compact,
    "tables": tables,
}


def main() -> int:
    """Do the work that the arguments name."""
    name, folder = sys.argv[1:]
    figures = _WORK[name](Path(folder))
    figures["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIB
    sys.stdout.write(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
