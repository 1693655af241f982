"""Pages of a computed table: newest rows first, then by the rest of the key (keyset pagination)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import polars as pl
import pyarrow as pa

from lake.schema.partitions import HOUR
from lake.schema.streams import DATE_PARTITION
from lake.schema.table_spec import TableSpec

_DAY = timedelta(days=1)
_DIVIDER = "\0"  # before any character of an id


@dataclass(frozen=True)
class PagePosition:
    """The position of a row in the order of pages: its time (of a day its start) and `place`.

    That is the rest of the key: the device, or its kind and id, divided by a null character.
    """

    time: datetime
    place: str = ""


@dataclass(frozen=True)
class PageQuery:
    """The rows of [start, end) after a position in the order of pages.

    `values` are those of which a row must have one, by the name of the column; where that holds
    lists, in its list.
    """

    start: datetime
    end: datetime
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    after: PagePosition | None = None


def row_period(spec: TableSpec) -> timedelta:
    """Return the time that a row is about: an hour or a day."""
    return _DAY if spec.time_column == DATE_PARTITION.name else HOUR


def place_columns(spec: TableSpec) -> list[str]:
    """Return the key columns beside the time; none: each time has one row."""
    return [name for name in spec.key if name != spec.time_column]


class Rows(Protocol):
    """Rows of a table by their time; `TableVersion` has them."""

    @property
    def spec(self) -> TableSpec: ...

    def scan(self, start: datetime, end: datetime) -> pl.LazyFrame: ...


def read_page(table: Rows, question: PageQuery, limit: int) -> pl.DataFrame:
    """Read the first `limit` rows; blocks while files are read.

    It goes back in steps that grow, so that a page of a large fleet costs one hour's files, and one
    of a small fleet, or of rare rows, few scans. Of named devices the first step has as many rows
    as the page, if each device has all of its own; of a single one it is the whole.
    """
    spec = table.spec
    places, step = place_columns(spec), row_period(spec)
    end = question.end
    if question.after is not None:
        end = min(end, question.after.time + step)
    if places and (named := question.values.get(places[-1])):
        whole = end - question.start
        step = whole if len(named) == 1 else min(whole, step * -(-limit // len(named)))
    nobody = any(not values for values in question.values.values())
    order = [spec.time_column, *places]
    found = [table.scan(end, end).collect()]
    while not nobody and limit > 0 and question.start < end:
        start = max(question.start, end - step)
        rows = table.scan(start, end).filter(_conditions(spec, question))
        page = rows.sort(order, descending=[True, *(False for _ in places)]).head(limit).collect()
        found.append(page)
        limit, end, step = limit - page.height, start, step * 2
    return pl.concat(found)


def page_position(spec: TableSpec, row: Mapping[str, object]) -> PagePosition:
    """Return the position of a row of a page."""
    time = row[spec.time_column]
    if not isinstance(time, datetime):
        time = datetime.fromisoformat(f"{time}T00:00:00+00:00")
    return PagePosition(time, _DIVIDER.join(str(row[name]) for name in place_columns(spec)))


def _conditions(spec: TableSpec, question: PageQuery) -> list[pl.Expr]:
    conditions = [_holds(spec, name, values) for name, values in question.values.items()]
    if (after := question.after) is not None:
        time = pl.col(spec.time_column)
        at = pl.lit(after.time if spec.time_column != DATE_PARTITION.name else after.time.date())
        beyond = time < at
        if places := place_columns(spec):
            # A single column stays as it is: row groups are left out by its bounds.
            first, *more = (pl.col(name) for name in places)
            place = pl.concat_str(first, *more, separator=_DIVIDER) if more else first
            beyond |= (time == at) & (place > after.place)
        conditions.append(beyond)
    return conditions or [pl.lit(True)]


def _holds(spec: TableSpec, name: str, values: Sequence[str]) -> pl.Expr:
    kind = spec.schema.field(name).type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pl.any_horizontal(pl.col(name).list.contains(value) for value in values)
    # Row groups are left out by the bounds of what a single value may be.
    return pl.col(name) == values[0] if len(values) == 1 else pl.col(name).is_in(values)
