"""The tables of a stretch of hours, computed and written, for whoever commits them.

A stretch is a value, and what becomes of it is one: any process that reaches the lake and Postgres
can compute it, as often as need be. Nothing that a reader sees changes before the commit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import Any, Final

import polars as pl
import psycopg

from lake import HOUR, STREAMS, EnergySettings, Lake
from lake.delta import Replacement, diagnose_read_errors, write_replacement
from lake.rollups import HourInputs, Tables, tables_of_hours
from lake.schema import (
    CHARGER_EFFICIENCY_HOURLY,
    CHARGING_STRETCH_HOURLY,
    FLEET_EFFICIENCY_HOURLY,
    GRID_HEALTH_HOURLY,
    HEARTBEAT_COMPLETENESS_HOURLY,
    HOURLY_TABLES,
    VEHICLE_EFFICIENCY_HOURLY,
    contiguous_hours,
)
from pipelines.checks.hours import CONTESTED, offenders_of_hours
from pipelines.checks.rules import contested_hours
from pipelines.compute.awaited import Awaited, awaited_of_hour
from pipelines.compute.cadences import own_cadences
from pipelines.compute.hour_chart import hour_chart
from pipelines.compute.inputs import HistoryReaders, history_readers, hour_inputs
from pipelines.database import connect

_HOURS_A_DAY: Final = 24
_ROWS_TOGETHER: Final = 200_000
_READ: Final = (
    *((stream.history_table, "timestamp") for stream in STREAMS.values()),
    *((spec.name, spec.time_column) for spec in HOURLY_TABLES),
)
_SHOWN: Final = ("efficiency_percent", "energy_ac_kwh", "energy_dc_kwh", "loss_kwh", "vehicles")


@dataclass(frozen=True)
class Stretch:
    """Contiguous hours of a UTC day, and all that says how they are computed."""

    lake: Lake
    database_url: str
    hours: Sequence[datetime]
    settings: EnergySettings
    uncovered_percent: float
    """The setting `uncovered_vehicles_percent`."""
    is_newest: bool
    """True if the cadences of devices are those at its end: no hour of the run is newer."""


@dataclass(frozen=True)
class ComputedStretch:
    """Result of a stretch: all that is to be committed and noted, hour by hour in their order."""

    hours: Sequence[datetime]
    written: Sequence[Replacement]
    """One for each of HOURLY_TABLES, in its order."""
    awaited: Sequence[Awaited]
    crossing: Sequence[Mapping[str, pl.DataFrame]]
    """`HourInputs.lacking`."""
    cadences: Mapping[str, pl.DataFrame]
    """The `own_cadences` of the last hour where the stretch is the newest, else none."""
    lost: frozenset[datetime]
    """Hours beside these whose readings nothing has any more, and which were left out."""
    offenders: Mapping[str, pl.DataFrame]
    """For each check of the hourly tables the rows that break it."""
    figures: Sequence[Mapping[str, Mapping[str, Any]]]
    """By table the number of `rows`, and what its page shows beside it: numbers, or the Markdown
    of a `plot`."""


def day_stretches(hours: Iterable[datetime]) -> list[Sequence[datetime]]:
    """Group hours, in order, into contiguous ones of a UTC day.

    Within a day a context is read once, and its tables have files of their own: two stretches
    that are computed at the same time mostly write other files.
    """
    return [
        stretch
        for _, of_day in groupby(sorted(hours), key=_date)
        for stretch in contiguous_hours(of_day, _HOURS_A_DAY)
    ]


def compute_stretch(stretch: Stretch) -> ComputedStretch:
    """Compute the hourly tables of a stretch and write their files, durably, without a commit.

    The same inputs give the same rows; files that are never committed are removed by `vacuum`.
    Raises LakeDamaged, with the name of the file, where one that is needed can't be read.
    """
    hours, lake, settings = stretch.hours, stretch.lake, stretch.settings
    window = hours[0], hours[-1] + HOUR
    with connect(stretch.database_url) as connection, diagnose_read_errors(lake, _READ, *window):
        readers = history_readers(lake, connection, settings, window[1])
        done = _compute_hours(readers, connection, stretch)
        rows = {
            table.name: pl.concat([of_hour[table.name] for of_hour in done.tables])
            for table in HOURLY_TABLES
        }
        return ComputedStretch(
            hours=hours,
            written=[
                write_replacement(lake, table, rows[table.name], *window) for table in HOURLY_TABLES
            ],
            awaited=done.awaited,
            crossing=done.crossing,
            cadences=done.cadences,
            lost=frozenset(hour for reader in readers.values() for hour in reader.lost),
            offenders={
                **offenders_of_hours(rows, stretch.uncovered_percent),
                CONTESTED: done.contested,
            },
            figures=[_figures(of_hour) for of_hour in done.tables],
        )


@dataclass(frozen=True)
class _ComputedHours:
    tables: Sequence[Tables]
    awaited: Sequence[Awaited]
    crossing: Sequence[Mapping[str, pl.DataFrame]]
    cadences: Mapping[str, pl.DataFrame]
    contested: pl.DataFrame


def _compute_hours(
    readers: HistoryReaders, connection: psycopg.Connection, stretch: Stretch
) -> _ComputedHours:
    """Compute the hours one after another, small ones together."""
    settings = stretch.settings
    contested: list[tuple[datetime, pl.DataFrame]] = []
    done: list[Tables] = []
    awaited: list[Awaited] = []
    crossing: list[Mapping[str, pl.DataFrame]] = []
    cadences: Mapping[str, pl.DataFrame] = {}
    waiting: list[HourInputs] = []
    rows = 0
    for hour in stretch.hours:
        inputs = hour_inputs(readers, connection, hour, settings)
        awaited.append(awaited_of_hour(inputs))
        crossing.append(inputs.lacking)
        if stretch.is_newest and hour == stretch.hours[-1]:
            cadences = own_cadences(inputs, settings)
        if waiting and rows + inputs.rows > _ROWS_TOGETHER:
            done += tables_of_hours(waiting, settings)
            waiting, rows = [], 0
        waiting.append(inputs)
        rows += inputs.rows
        contested.append((hour, inputs.contested))
    done += tables_of_hours(waiting, settings)
    offenders = contested_hours(contested, settings.largest_gap_seconds)
    return _ComputedHours(done, awaited, crossing, cadences, offenders)


def _figures(tables: Tables) -> dict[str, dict[str, Any]]:
    """Numbers of one hour, which the pages of the tables plot over the partitions."""
    vehicles = tables[VEHICLE_EFFICIENCY_HOURLY.name]
    plot = {"plot": hour_chart(vehicles)}
    shown: dict[str, dict[str, Any]] = {
        VEHICLE_EFFICIENCY_HOURLY.name: {**_statuses(vehicles), **plot},
        CHARGER_EFFICIENCY_HOURLY.name: _statuses(tables[CHARGER_EFFICIENCY_HOURLY.name]),
        FLEET_EFFICIENCY_HOURLY.name: {
            **_first_row(tables[FLEET_EFFICIENCY_HOURLY.name], _SHOWN),
            **plot,
        },
        CHARGING_STRETCH_HOURLY.name: _sums(
            tables[CHARGING_STRETCH_HOURLY.name], ("charging_seconds",)
        ),
        GRID_HEALTH_HOURLY.name: _sums(
            tables[GRID_HEALTH_HOURLY.name], ("minutes_below", "minutes_above")
        ),
        HEARTBEAT_COMPLETENESS_HOURLY.name: _sums(
            tables[HEARTBEAT_COMPLETENESS_HOURLY.name],
            ("heartbeats_expected", "heartbeats_received", "devices_silent", "duplicates"),
        ),
    }
    return {name: {"rows": tables[name].height, **figures} for name, figures in shown.items()}


def _statuses(rows: pl.DataFrame) -> dict[str, Any]:
    return dict(rows["status"].value_counts().iter_rows())


def _first_row(rows: pl.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    first = next(rows.iter_rows(named=True), {})
    return {name: first[name] for name in names if first.get(name) is not None}


def _sums(rows: pl.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    return {name: rows[name].sum() for name in names}


def _date(hour: datetime) -> date:
    return hour.date()
