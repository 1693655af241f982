"""The tables of a full-fleet day from its history.

Without Postgres: there are no explicit links and no charger classes, and the devices are those
that were heard on the day.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from lake import (
    HOUR,
    METER,
    STREAMS,
    VEHICLE,
    EnergySettings,
    Lake,
    hours_between,
    replace_hours,
    scan_history,
)
from lake.energy import CHARGER_CLASSES
from lake.energy.links import (
    PAIR,
    links_around,
    named_links,
)
from lake.engine import IN_MEMORY
from lake.history.context import HistoryWindow, SequentialHistoryReader
from lake.rollups.day import DayInputs, efficiency_of_day, health_of_day
from lake.rollups.hour import HourInputs, Tables, efficiency_of_hour, health_of_hour
from lake.schema.catalog import DERIVED_TABLES, HOURLY_EFFICIENCY

DAY: Final = datetime(2026, 11, 20, tzinfo=UTC)
_MIDNIGHT: Final = DAY + timedelta(days=1)
_SPECS: Final = {spec.name: spec for spec in DERIVED_TABLES}
_CLASSES: Final = pl.LazyFrame(schema=CHARGER_CLASSES)
_TIME: Final = pl.Datetime("us", "UTC")
_EXPLICIT: Final = pl.LazyFrame(
    schema={
        "meter_id": pl.String,
        "vehicle_id": pl.String,
        "valid_from": _TIME,
        "valid_to": _TIME,
    }
)

Figures = dict[str, float]


def tables(folder: Path) -> Figures:
    """Compute the tables of the day of a lake in a folder."""
    return tables_of(Lake(str(folder)))


def tables_of(lake: Lake) -> Figures:
    """Compute and write every table of the day, its hours one after another and then the day.

    `seconds` are those of the efficiency tables, from reading heartbeats and resolving links to
    the commits; `other_seconds` those of the other tables.
    """
    day = _Day(lake)
    hours = [day.compute_hour(hour) for hour in day.hours]
    seconds = [sum(of_kind) for of_kind in zip(*(took for _, took in hours), strict=True)]
    # A run over hours writes those of a day in one commit of each table, as the pipelines do.
    for kind, tables_of_kind in enumerate(zip(*(found for found, _ in hours), strict=True)):
        began = time.perf_counter()
        day.write_hours(tables_of_kind)
        seconds[kind] += time.perf_counter() - began
    whole = day.compute_whole()
    return {"seconds": seconds[0] + whole[0], "other_seconds": seconds[1] + whole[1]}


class _Day:
    """The day as far as its history goes."""

    def __init__(self, lake: Lake) -> None:
        self._lake, self._settings = lake, EnergySettings()
        known = {
            stream.name: scan_history(lake, stream, DAY, _MIDNIGHT)
            .select(stream.device)
            .unique()
            .collect()
            for stream in STREAMS.values()
        }
        named = (
            scan_history(lake, VEHICLE, DAY, _MIDNIGHT)
            .select("meter_id", "vehicle_id")
            .drop_nulls()
            .unique()
            .collect()
        )
        newest = (
            scan_history(lake, METER, DAY, _MIDNIGHT).select(pl.col("timestamp").max()).collect()
        )
        self.hours = hours_between(DAY, newest.item())
        self.end = self.hours[-1] + HOUR
        self._histories = {
            name: SequentialHistoryReader(lake, stream, self._settings)
            for name, stream in STREAMS.items()
        }
        self._expected = {name: devices.lazy() for name, devices in known.items()}
        number = pl.first().str.extract("0*([0-9]+)$").alias("number")
        self._by_rule = (
            known[METER.name]
            .join(named, on="meter_id", how="anti")
            .with_columns(number)
            .join(
                known[VEHICLE.name].join(named, on="vehicle_id", how="anti").with_columns(number),
                on="number",
            )
            .select(list(PAIR))
            .lazy()
        )

    def compute_hour(self, hour: datetime) -> tuple[tuple[Tables, Tables], tuple[float, float]]:
        """The efficiency tables and the others of an hour, and the seconds that each took."""
        began = time.perf_counter()
        meters, vehicles = (
            self._histories[stream.name].read(hour, hour + HOUR) for stream in (METER, VEHICLE)
        )
        links = self.links(hour, hour + HOUR, vehicles.lazy())
        inputs = HourInputs(
            hour, meters.lazy(), vehicles.lazy(), links.lazy(), _CLASSES, self._expected
        )
        efficiency = efficiency_of_hour(inputs, self._settings)
        between = time.perf_counter()
        others = health_of_hour(inputs, self._settings)
        return (efficiency, others), (between - began, time.perf_counter() - between)

    def write_hours(self, hours: Sequence[Tables]) -> None:
        """Write what was computed of all hours."""
        rows = {name: pl.concat([of_hour[name] for of_hour in hours]) for name in hours[0]}
        self._write(rows, DAY, self.end)

    def compute_whole(self) -> tuple[float, float]:
        """Compute and write the tables of the day; seconds of the efficiency, of the others."""
        began = time.perf_counter()
        hours = {spec.name: self._rows_of(spec.name) for spec in HOURLY_EFFICIENCY}
        vehicles = HistoryWindow(self._lake, VEHICLE, DAY, self.end, self._settings)
        inputs = DayInputs(vehicles, hours)
        self._write(efficiency_of_day(inputs, self._settings), DAY, _MIDNIGHT)
        between = time.perf_counter()
        self._write(health_of_day(inputs, self._settings), DAY, _MIDNIGHT)
        return between - began, time.perf_counter() - between

    def links(self, start: datetime, end: datetime, vehicles: pl.LazyFrame) -> pl.DataFrame:
        """The links of a window by the names in its vehicles' heartbeats, and by the rule."""
        # As the pipelines: what is read twice is computed once.
        named = named_links(vehicles, self._settings).collect().lazy()
        return links_around(_EXPLICIT, named, self._by_rule, start, end).collect(engine=IN_MEMORY)

    def _rows_of(self, table: str) -> pl.DataFrame:
        """The day's rows of a table of hours."""
        rows = self._lake.scan(self._lake.open(table)).filter(pl.col("date") == DAY.date())
        return rows.select(_SPECS[table].names).collect()

    def _write(self, tables: Tables, start: datetime, end: datetime) -> None:
        for name, rows in tables.items():
            replace_hours(self._lake, _SPECS[name], rows, start, end)
