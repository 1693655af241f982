"""Verification of a stretch of hours, as a value that any process computes."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final

from lake import EnergySettings, Lake
from lake.delta import DamagedFile
from pipelines.resources import WarehouseResource
from pipelines.verify.files import CheckedTables
from pipelines.verify.hours import Verification, VerifiedHour
from pipelines.verify.marts import MartReader

# Before its first hour each reads the raw heartbeats of two days.
_DAYS: Final = 7


@dataclass(frozen=True)
class StretchToVerify:
    """Hours in order, and where all that they are compared with lies.

    `unreadable` are the tables whose log can't be read, with the reason.
    """

    lake: Lake
    database_url: str
    settings: EnergySettings
    unreadable: Mapping[str, str]
    hours: Sequence[datetime]


@dataclass(frozen=True)
class VerifiedStretch:
    """Results of the hours, and the files that were checked on the way."""

    hours: Sequence[VerifiedHour]
    checked: Mapping[tuple[str, str], DamagedFile | None]


def week_stretches(hours: Sequence[datetime]) -> list[Sequence[datetime]]:
    """Divide hours, in order, into those of weeks, for several processes."""
    return [list(part) for _, part in groupby(hours, lambda hour: hour.toordinal() // _DAYS)]


def verify_stretch(
    stretch: StretchToVerify, on_hour: Callable[[], None] | None = None
) -> VerifiedStretch:
    """Verify the hours of a stretch; `on_hour` is called after each.

    Raises LakeError, psycopg.Error.
    """
    warehouse = WarehouseResource(database_url=stretch.database_url)
    tables = CheckedTables(stretch.lake, stretch.unreadable)
    hours: list[VerifiedHour] = []
    with closing(MartReader(warehouse)) as marts:
        for hour in Verification(tables, warehouse, marts, stretch.settings).run(stretch.hours):
            hours.append(hour)
            if on_hour is not None:
                on_hour()
    return VerifiedStretch(hours, tables.checked)
