"""Replacement of a window of time in a table, file by file, in one commit.

Tables are partitioned by `date`; within it an hour usually is a file of its own, until a day is
archived as one. A file that reaches beyond the stretch is written anew without it, so late rows of
any age find their place.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

import polars as pl
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction

from lake.delta.commit import commit, next_version
from lake.delta.damage import READ_ERRORS
from lake.delta.durability import sync_folders
from lake.delta.parquet_files import FAST, SMALL, scan_files, write_data_file
from lake.delta.storage import Lake, retry_stale
from lake.errors import LakeDamaged
from lake.schema.partitions import days_within, first_and_last_day, in_window
from lake.schema.streams import DATE_PARTITION
from lake.schema.table_spec import TableSpec

_APP_ID: Final = "wattlake-replace"  # counted up by each replacement
_DATE: Final = DATE_PARTITION.name
_ROWS_A_PART: Final = 2_000_000
_EVER: Final = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True)
class LiveFile:
    """A file that a version of a table holds, and the times in it as far as its log knows."""

    lake: Lake
    spec: TableSpec
    path: str
    day: date
    size: int
    rows: int
    first: datetime | None
    last: datetime | None
    """Rounded up to a millisecond."""

    def may_reach(self, start: datetime, end: datetime) -> bool:
        """Tell whether a row may lie in the window."""
        return self.first is None or self.last is None or (self.first < end and self.last >= start)

    def is_within(self, start: datetime, end: datetime) -> bool:
        """Tell whether all rows surely lie in the window."""
        if self.first is None or self.last is None:
            return self.day in days_within(start, end)
        return start <= self.first and self.last < end

    def scan(self) -> pl.LazyFrame:
        """Scan the rows with their `date`; null in a column that was added to the table later."""
        return scan_files(self.lake, self.spec.name, [self.path], self.spec.schema)


def replace_hours(
    lake: Lake, spec: TableSpec, rows: pl.DataFrame, start: datetime, end: datetime
) -> int:
    """Let the table hold exactly `rows` of the time from `start` to `end`, whole hours or days.

    `rows` have the columns of `spec`, in any order. One commit; returns the version after it.
    """
    rows = rows.sort(spec.key)
    return retry_stale(lambda: replace_window(lake, lake.open(spec.name), spec, rows, start, end))


def replace_if_changed(
    lake: Lake, spec: TableSpec, rows: pl.DataFrame, start: datetime, end: datetime
) -> int:
    """Do as `replace_hours`, but commit nothing if the table holds exactly these rows.

    Returns the version after it. A rerun then leaves no new version, no dead files, and nothing for
    readers to load again. Only for the one writer of a table, in its pool: nobody else may change
    the hours meanwhile.
    """
    return commit_replacement(lake, write_replacement(lake, spec, rows, start, end))


@dataclass(frozen=True)
class Replacement:
    """Written files that a table is to hold of a window from their commit on.

    A value that another process may have made: until the commit, and without it, the files are
    orphans that no reader sees.
    """

    spec: TableSpec
    start: datetime
    end: datetime
    live: frozenset[str]
    """Paths of the files that reached into the window when these were written."""
    replaced: tuple[LiveFile, ...]
    added: tuple[AddAction, ...]
    """None at all, and nothing replaced, where the table held exactly these rows."""


def write_replacement(
    lake: Lake, spec: TableSpec, rows: pl.DataFrame, start: datetime, end: datetime
) -> Replacement:
    """Write the files for `replace_if_changed`, durably, and commit nothing.

    Of a file that reaches beyond the window they hold the rows beyond it as well.
    """
    table = lake.open(spec.name)
    live = live_files(lake, table, spec, start, end)
    paths = frozenset(file.path for file in live)
    rows = rows.select(spec.names).sort(spec.key)
    there = lake.scan(table).filter(in_window(start, end, spec.time_column)).select(spec.names)
    try:
        if there.collect().sort(spec.key).equals(rows):
            return Replacement(spec, start, end, paths, (), ())
    except READ_ERRORS:
        pass  # a file that can't be read is one to replace
    replaced, days = _with_rows_beyond(live, spec, _days(rows, spec), start, end)
    return Replacement(spec, start, end, paths, replaced, _write_days(lake, spec, days))


def commit_replacement(lake: Lake, written: Replacement) -> int:
    """Commit what `write_replacement` wrote; returns the version after it.

    To commit it again changes no row. Where another commit has touched a file of the window since,
    the rows of the window are written anew beside what is there now.
    """
    spec, start, end = written.spec, written.start, written.end

    def attempt() -> int:
        table = lake.open(spec.name)
        live = live_files(lake, table, spec, start, end)
        if {file.path for file in live} == written.live:
            return _commit_files(lake, table, spec, written.replaced, written.added)
        paths = [file.path for file in written.added]
        rows = scan_files(lake, spec.name, paths, spec.schema)
        is_ours = in_window(start, end, spec.time_column)
        ours = rows.filter(is_ours).select(spec.names).sort(spec.key).collect()
        return replace_window(lake, table, spec, ours, start, end)

    if not (written.added or written.replaced):
        return lake.open(spec.name).version()
    return retry_stale(attempt)


def change_window(
    lake: Lake,
    spec: TableSpec,
    change: Callable[[pl.DataFrame], pl.DataFrame],
    start: datetime,
    end: datetime,
) -> int:
    """Let the table hold what `change` makes of its rows of a window, whole hours or days.

    One commit, and none if they stay the same; from the newest version again where somebody has
    committed meanwhile. Returns the version after it.
    """

    def attempt() -> int:
        table = lake.open(spec.name)
        there = scan_window(lake, table, spec, start, end).sort(spec.key).collect()
        rows = change(there).select(spec.names).sort(spec.key)
        if rows.equals(there):
            return table.version()
        return replace_window(lake, table, spec, rows, start, end)

    return retry_stale(attempt)


def replace_window(
    lake: Lake,
    table: DeltaTable,
    spec: TableSpec,
    rows: pl.DataFrame,
    start: datetime,
    end: datetime,
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Do as `replace_hours`, through a handle from which the caller has read.

    Raises StaleRead, with nothing replaced, if the table has changed since the handle was opened.
    """
    days = _days(rows.select(spec.names), spec)
    return replace_window_in_parts(lake, table, spec, days, start, end, metadata)


def replace_window_in_parts(
    lake: Lake,
    table: DeltaTable,
    spec: TableSpec,
    days: Iterable[tuple[date, Iterable[pl.DataFrame]]],
    start: datetime,
    end: datetime,
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Do as `replace_window`, with the sorted rows of each day in parts.

    The parts have the columns in the order of `spec`.
    """
    live = live_files(lake, table, spec, start, end)
    replaced, days = _with_rows_beyond(live, spec, days, start, end)
    return replace_files(lake, table, spec, days, replaced, metadata=metadata)


def _with_rows_beyond(
    live: Iterable[LiveFile],
    spec: TableSpec,
    days: Iterable[tuple[date, Iterable[pl.DataFrame]]],
    start: datetime,
    end: datetime,
) -> tuple[tuple[LiveFile, ...], Iterable[tuple[date, Iterable[pl.DataFrame]]]]:
    """The files that hold rows of a window, and its new days with the rows of these beyond it."""
    replaced, kept = [], []
    for file in live:
        if file.is_within(start, end):
            replaced.append(file)
            continue
        is_beyond = ~in_window(start, end, spec.time_column)
        count = file.scan().select(rows=pl.len(), beyond=is_beyond.sum()).collect()
        rows, beyond = count.row(0)
        if rows != file.rows:
            raise LakeDamaged(f"{spec.name}/{file.path}: {rows:,} rows, {file.rows:,} were written")
        if beyond < rows:
            replaced.append(file)
            kept.append(file.scan().filter(is_beyond).select(spec.names))
    if kept:
        new = (part.lazy() for _, parts in days for part in parts)
        days = _sorted_days(pl.concat([*new, *kept]), spec)
    return tuple(replaced), days


def replace_files(
    lake: Lake,
    table: DeltaTable,
    spec: TableSpec,
    days: Iterable[tuple[date, Iterable[pl.DataFrame]]],
    replaced: Sequence[LiveFile],
    *,
    metadata: Mapping[str, str] | None = None,
    archived: bool = False,
) -> int:
    """Put the sorted parts of each day in the place of some files; returns the version after it.

    As an archive they are written for years.

    Raises StaleRead, with nothing changed, if anybody has committed since `table` was opened.
    """
    added = _write_days(lake, spec, days, archived=archived)
    return _commit_files(lake, table, spec, replaced, added, metadata)


def _write_days(
    lake: Lake,
    spec: TableSpec,
    days: Iterable[tuple[date, Iterable[pl.DataFrame]]],
    *,
    archived: bool = False,
) -> tuple[AddAction, ...]:
    """A file for each day."""
    added = []
    for day, parts in days:
        content = (part.drop(_DATE, strict=False) for part in parts)
        added.append(
            write_data_file(
                lake,
                spec.name,
                {_DATE: str(day)},
                content,
                spec.described,
                SMALL if archived else FAST,
                rows_a_group=spec.archived_rows_a_group if archived else spec.rows_a_group,
            )
        )
    return tuple(added)


def _commit_files(
    lake: Lake,
    table: DeltaTable,
    spec: TableSpec,
    replaced: Sequence[LiveFile],
    added: Sequence[AddAction],
    metadata: Mapping[str, str] | None = None,
) -> int:
    now = time.time_ns() // 1_000_000
    actions: list[AddAction | RemoveAction] = [
        RemoveAction(f.path, True, now, size=f.size, partition_values={_DATE: str(f.day)})
        for f in replaced
    ]
    actions += added
    if not actions:
        return table.version()
    if lake.local_folder:
        sync_folders(lake.local_folder / spec.name, (file.path for file in added))
    commit(lake, table, actions, next_version(table, _APP_ID), metadata)
    table.update_incremental()
    return table.version()


def live_files(
    lake: Lake, table: DeltaTable, spec: TableSpec, start: datetime, end: datetime
) -> list[LiveFile]:
    """Return the files of a table that may hold rows of [start, end)."""
    log = pl.DataFrame(table.get_add_actions(flatten=True))
    if log.is_empty():
        return []
    bounds = [pl.lit(None).alias("first"), pl.lit(None).alias("last")]
    if spec.time_column != _DATE:
        bounds = [pl.col(f"{bound}.{spec.time_column}") for bound in ("min", "max")]
    found = log.select("path", f"partition.{_DATE}", "size_bytes", "num_records", *bounds)
    days = first_and_last_day(start, end)
    within = found.filter(pl.col(f"partition.{_DATE}").is_between(*days))
    files = (LiveFile(lake, spec, *row) for row in within.iter_rows())
    return [file for file in files if file.may_reach(start, end)]


def remove_file(lake: Lake, spec: TableSpec, path: str) -> None:
    """Remove a file from a table in one commit; its rows then have to be computed again.

    Nothing happens where the table does not hold it any more.
    """

    def remove() -> None:
        table = lake.open(spec.name)
        replace_files(lake, table, spec, [], _of_path(lake, table, spec, path))

    retry_stale(remove)


def _of_path(lake: Lake, table: DeltaTable, spec: TableSpec, path: str) -> list[LiveFile]:
    return [file for file in live_files(lake, table, spec, *_EVER) if file.path == path]


def scan_window(
    lake: Lake,
    table: DeltaTable,
    spec: TableSpec,
    start: datetime,
    end: datetime,
    without: Collection[str] = (),
) -> pl.LazyFrame:
    """Scan the rows of [start, end) in exactly the version of the handle.

    Reads the files of that time alone, while a scan of the table first looks at all that it has;
    leaves out those with the paths of `without`.
    """
    paths = [file.path for file in live_files(lake, table, spec, start, end)]
    rows = scan_files(lake, spec.name, [p for p in paths if p not in without], spec.schema)
    return rows.filter(in_window(start, end, spec.time_column)).select(spec.names)


def sorted_parts(rows: pl.LazyFrame, spec: TableSpec) -> Iterator[pl.DataFrame]:
    """Read the rows in the order of the key, as parts that fit into memory."""
    device = spec.key[0]
    counts = rows.group_by(device).agg(rows=pl.len()).sort(device).collect()
    part = (pl.col("rows").cum_sum() - 1) // _ROWS_A_PART
    parts = counts.group_by(part, maintain_order=True).agg(
        first=pl.col(device).first(), last=pl.col(device).last()
    )
    for first, last in parts.select("first", "last").iter_rows():
        of_part = pl.col(device).is_between(pl.lit(first), pl.lit(last))
        yield rows.filter(of_part).sort(spec.key).collect()


def _sorted_days(
    rows: pl.LazyFrame, spec: TableSpec
) -> Iterator[tuple[date, Iterator[pl.DataFrame]]]:
    day = pl.col(spec.time_column).dt.date()
    for found in rows.select(day.unique().sort()).collect().to_series():
        yield found, sorted_parts(rows.filter(day == found), spec)


def _days(rows: pl.DataFrame, spec: TableSpec) -> Iterator[tuple[date, list[pl.DataFrame]]]:
    day = rows[spec.time_column].dt.date()
    for found in day.unique().sort():
        yield found, [rows.filter(day == found)]
