"""Findings: what does not agree, and where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import polars as pl

from lake.delta import DataFile
from pipelines.checks.rules import differing_rows

_FIRST_ONES = 5


class Remedy(Enum):
    """Action of `--repair` for a finding."""

    COUNT = "the ledger's row is counted anew"
    COMPUTE = "the hour is computed again"
    COMPACT = "the history is taken from raw again, and the hour computed"
    NONE = "needs a person: restore the raw heartbeats"
    REBUILD = "the file is replaced by what raw gives, and its hours are computed again"
    REPLACE = "the file is taken out of the table, and its hours are computed again"
    LOOK = "the file is taken out of the table, and its day and those after it are looked at again"
    RESTORE = "needs a person: restore the file from a backup, nothing else has what was in it"
    ACCESS = "needs a person: let this account read the file, or remove it where the disk is broken"
    MART = "needs a person: see the log of Postgres, and restore this table from a backup"
    RAW_LOG = (
        "needs a person: restore its _delta_log from a backup within a week, after which the job "
        "`maintenance` removes files that no log names; leave the data files"
    )
    HISTORY_LOG = (
        "needs a person: restore its _delta_log from a backup; where raw still has every hour, "
        "move the folder of the table away instead and run `wattlake verify --repair`"
    )
    TABLE_LOG = (
        "needs a person: move the folder of the table away and run `wattlake verify --repair`, it "
        "is computed anew"
    )

    @property
    def needs_person(self) -> bool:
        """True if `--repair` leaves it alone."""
        return self.value.startswith("needs a person")


@dataclass(frozen=True)
class TableDamage:
    """A table whose log can't be read, so that none of its hours was judged."""

    table: str
    reason: str
    remedy: Remedy


@dataclass(frozen=True)
class Finding:
    """A table that differs in one hour; `first` names devices, for the ledger the stream.

    `stream` and `last_arrival`, the newest receipt time in raw, are what a remedy needs to know. Of
    a damaged `file` it is the first hour, and `hours` are those that are computed from the remedy
    on.
    """

    hour: datetime
    table: str
    expected: str
    found: str
    first: tuple[str, ...]
    remedy: Remedy
    stream: str | None = None
    last_arrival: datetime | None = None
    file: DataFile | None = None
    hours: tuple[datetime, ...] = ()

    @property
    def concerned_hours(self) -> tuple[datetime, ...]:
        """Hours that the remedy has computed again."""
        return self.hours or (self.hour,)


def row_finding(
    hour: datetime,
    table: str,
    expected: pl.DataFrame,
    found: pl.DataFrame,
    key: Sequence[str],
) -> Finding | None:
    """Finding of the difference between the rows that a table should hold and those that it holds.

    Both frames have the same columns; values are compared exactly.
    """
    if expected.equals(found):
        return None
    differing = differing_rows(expected, found, key)
    repeated = found.height - found.select(key).unique().height
    if differing.is_empty() and not repeated:
        return None  # the same rows in another order
    missing = differing.join(found, on=key, how="anti", nulls_equal=True).height
    surplus = differing.join(expected, on=key, how="anti", nulls_equal=True).height
    parts = {
        "missing": missing,
        "too many": surplus,
        "changed": differing.height - missing - surplus,
        "repeated": repeated,
    }
    counts = ", ".join(f"{count} {what}" for what, count in parts.items() if count)
    wanted, got = _first_change(expected, found, differing, key)
    return Finding(
        hour=hour,
        table=table,
        expected=f"{_rows(expected)}{wanted}",
        found=f"{_rows(found)}, {counts}{got}",
        first=_names(differing, key),
        remedy=Remedy.COMPUTE,
    )


def _first_change(
    expected: pl.DataFrame, found: pl.DataFrame, differing: pl.DataFrame, key: Sequence[str]
) -> tuple[str, str]:
    """The values of the first row that stands in both and differs, on either side."""

    def among(rows: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
        return rows.join(others, on=key, how="semi", nulls_equal=True)

    both = among(among(differing, expected), found).head(1)
    if both.is_empty():
        return "", ""
    wanted = among(expected, both).row(0, named=True)
    got = among(found, both).row(0, named=True)
    changed = [name for name in wanted if wanted[name] != got[name]][:_FIRST_ONES]
    return _values(wanted, changed), _values(got, changed)


def _values(row: Mapping[str, object], names: Sequence[str]) -> str:
    return "; " + ", ".join(f"{name} {_value(row[name])}" for name in names)


def _names(rows: pl.DataFrame, key: Sequence[str]) -> tuple[str, ...]:
    device = [name for name in key if name.endswith("_id")]
    names = rows[device[0]].unique(maintain_order=True).to_list() if device else []
    return tuple(names[:_FIRST_ONES])


def _rows(frame: pl.DataFrame) -> str:
    return f"{frame.height:,} row{'' if frame.height == 1 else 's'}"


def _value(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}Z"
    if isinstance(value, float):
        return f"{value:.10g}"
    return "null" if value is None else str(value)
