"""The tables of a full-fleet day from its history: all of them by us, the efficiency by DuckDB.

Without Postgres: there are no explicit links and no charger classes, and the devices are those
that were heard on the day.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb
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
    clip_links,
    links_around,
    named_links,
)
from lake.engine import IN_MEMORY
from lake.history.context import HistoryWindow, SequentialHistoryReader
from lake.rollups.day import DayInputs, efficiency_of_day, health_of_day
from lake.rollups.hour import HourInputs, Tables, efficiency_of_hour, health_of_hour
from lake.schema.catalog import DERIVED_TABLES, HOURLY_EFFICIENCY
from lake.schema.vehicle_efficiency import FLEET_EFFICIENCY_HOURLY

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
_THREADS: Final = 2

Figures = dict[str, float]


def tables(folder: Path) -> Figures:
    """Compute and write every table of the day, its hours one after another and then the day.

    `seconds` are those of the efficiency tables, from reading heartbeats and resolving links to
    the commits; `other_seconds` those of the other tables. `energy_ac` and `energy_dc` are the
    fleet's, kWh.
    """
    day = _Day(Lake(str(folder)))
    hours = [day.compute_hour(hour) for hour in day.hours]
    seconds = [sum(of_kind) for of_kind in zip(*(took for _, took in hours), strict=True)]
    # A run over hours writes those of a day in one commit of each table, as the pipelines do.
    for kind, tables_of_kind in enumerate(zip(*(found for found, _ in hours), strict=True)):
        began = time.perf_counter()
        day.write_hours(tables_of_kind)
        seconds[kind] += time.perf_counter() - began
    whole = day.compute_whole()
    fleet = day.rows_of(FLEET_EFFICIENCY_HOURLY.name)
    return {
        "seconds": seconds[0] + whole[0],
        "other_seconds": seconds[1] + whole[1],
        "seconds_of_hours": seconds[0],
        "energy_ac": fleet["energy_ac_kwh"].sum(),
        "energy_dc": fleet["energy_dc_kwh"].sum(),
    }


def tables_in_duckdb(folder: Path) -> Figures:
    """Have DuckDB compute the efficiency tables from the same files; it is given the links."""
    lake = Lake(str(folder))
    day = _Day(lake)
    links = day.links(DAY, day.end, scan_history(lake, VEHICLE, DAY, day.end))
    statements = Path(__file__).with_name("efficiency.sql").read_text(encoding="utf-8")
    with duckdb.connect() as connection:
        connection.execute(f"SET threads = {_THREADS}")
        connection.execute("SET TimeZone = 'UTC'")
        within = clip_links(links.lazy(), DAY, day.end).collect()
        connection.register("links", within.to_arrow())
        for stream in STREAMS.values():
            files = lake.open(stream.history_table).file_uris()
            read = connection.read_parquet(files, hive_partitioning=False)
            read.create_view(stream.history_table)
        began = time.perf_counter()
        connection.execute(statements)
        seconds = time.perf_counter() - began
        sums = connection.execute("SELECT sum(energy_ac), sum(energy_dc) FROM fleet_hour")
        energy_ac, energy_dc = sums.fetchall()[0]
    return {"seconds": seconds, "energy_ac": energy_ac, "energy_dc": energy_dc}


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
            .select(PAIR)
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
        hours = {spec.name: self.rows_of(spec.name) for spec in HOURLY_EFFICIENCY}
        vehicles = HistoryWindow(self._lake, VEHICLE, DAY, self.end, self._settings)
        inputs = DayInputs(vehicles, hours)
        self._write(efficiency_of_day(inputs, self._settings), DAY, _MIDNIGHT)
        between = time.perf_counter()
        self._write(health_of_day(inputs, self._settings), DAY, _MIDNIGHT)
        return between - began, time.perf_counter() - between

    def links(self, start: datetime, end: datetime, vehicles: pl.LazyFrame) -> pl.DataFrame:
        """The links of a window by the names in its vehicles' heartbeats, and by the rule."""
        named = named_links(vehicles, self._settings)
        return links_around(_EXPLICIT, named, self._by_rule, start, end).collect(engine=IN_MEMORY)

    def rows_of(self, table: str) -> pl.DataFrame:
        """The day's rows of a table of hours."""
        rows = self._lake.scan(self._lake.open(table)).filter(pl.col("date") == DAY.date())
        return rows.select(_SPECS[table].names).collect()

    def _write(self, tables: Tables, start: datetime, end: datetime) -> None:
        for name, rows in tables.items():
            replace_hours(self._lake, _SPECS[name], rows, start, end)
