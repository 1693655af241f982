"""Figures of reports from given hours of vehicles and chargers."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

import polars as pl
import polars.selectors as cs

from lake import DAY as A_DAY
from lake import EnergySettings
from lake.costs import Pricing, costs_of_day
from lake.energy.fleet import fleet_efficiency
from lake.reports import Period, Scope
from lake.rollups.merging import merge_charger_hours, merge_vehicle_hours
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_DAILY, CHARGER_EFFICIENCY_HOURLY
from lake.schema.charging_session import CHARGING_SESSION
from lake.schema.device_condition import MAINTENANCE_VISIT
from lake.schema.table_spec import TableSpec
from lake.schema.vehicle_efficiency import (
    FLEET_EFFICIENCY_DAILY,
    VEHICLE_EFFICIENCY_DAILY,
    VEHICLE_EFFICIENCY_HOURLY,
)
from pipelines.compute.places import Depot, Places
from pipelines.report.content import content_of
from pipelines.report.figures import FigureReader, Figures
from pipelines.report.page import html_page
from pipelines.report.window import PinnedTables
from tests.table_samples import table_rows
from tests.unit.vehicle_hour_samples import vehicle_hour

SETTINGS = EnergySettings(_env_file=None)
THE_DAY = Period("day", date(2026, 11, 20))
LATER = datetime(2026, 11, 21, 0, 30, tzinfo=UTC)
NOWHERE = Places("UTC", {}, {}, {})
Row = Mapping[str, Any]


class MemoryTables:
    """Tables as `PinnedTables` reads them, of rows of hours; the days are merged from these."""

    def __init__(
        self,
        vehicles: Sequence[Row],
        chargers: Sequence[Row] = (),
        sessions: Sequence[Row] = (),
        listed: pl.DataFrame | None = None,
        pricing: Pricing | None = None,
    ) -> None:
        self._tables = {
            spec.name: table_rows(spec, *rows)
            for spec, rows in (
                (VEHICLE_EFFICIENCY_HOURLY, vehicles),
                (CHARGER_EFFICIENCY_HOURLY, chargers),
                (CHARGING_SESSION, sessions),
            )
        }
        self._listed, self._pricing = listed, pricing
        self.versions = {"vehicle_efficiency_daily": 7, "charging_session": 3}

    def rows(
        self,
        spec: TableSpec,
        start: datetime,
        end: datetime,
        columns: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        if spec.name in self._tables:
            time = pl.col(spec.time_column)
            rows = self._tables[spec.name].filter((time >= start) & (time < end))
            return rows.select(cs.by_name(*(columns or spec.names), require_all=False))
        found = [table_rows(spec)]
        while start < end:
            found.append(self._day(spec, start))
            start += A_DAY
        return pl.concat(found)

    def visits(self, last: date) -> pl.DataFrame:
        return table_rows(MAINTENANCE_VISIT) if self._listed is None else self._listed

    def _day(self, spec: TableSpec, start: datetime) -> pl.DataFrame:
        window = (start, start + A_DAY)
        hours = {
            one.name: self.rows(one, *window)
            for one in (VEHICLE_EFFICIENCY_HOURLY, CHARGER_EFFICIENCY_HOURLY)
        }
        of_vehicles, of_chargers = hours.values()
        costs = costs_of_day(
            of_vehicles, of_chargers, [start + n * A_DAY / 24 for n in range(24)], self._pricing
        )
        day = pl.lit(start.date()).alias("date")
        vehicles = merge_vehicle_hours(of_vehicles, *window, SETTINGS).with_columns(day)
        chargers = merge_charger_hours(of_chargers, *window, SETTINGS).with_columns(day)
        fleet = fleet_efficiency(vehicles.lazy(), chargers.lazy(), "date").collect()
        rows, added = {
            VEHICLE_EFFICIENCY_DAILY.name: (vehicles, costs.vehicles),
            CHARGER_EFFICIENCY_DAILY.name: (chargers, costs.chargers),
            FLEET_EFFICIENCY_DAILY.name: (
                fleet.with_columns(hours=pl.lit(24, pl.Int64)),
                costs.fleet,
            ),
        }[spec.name]
        return rows.join(added, on=added.columns[0], how="left").select(spec.names)


def figures(
    *vehicles: Row,
    chargers: Sequence[Row] = (),
    period: Period = THE_DAY,
    depot: str | None = None,
    places: Places = NOWHERE,
    generated_at: datetime = LATER,
    pricing: Pricing | None = None,
    judged: Sequence[date] = (),
    **tables: Any,
) -> Figures:
    """Figures of a period with these hours of vehicles and chargers."""
    source = cast(PinnedTables, MemoryTables(vehicles, chargers, pricing=pricing, **tables))
    reader = FigureReader(source, places, SETTINGS, pricing, judged, generated_at)
    return reader.figures(period, Scope(depot))


def page_of(of: Figures, *changed: str) -> str:
    """The page of a report."""
    return html_page(content_of(of, 2, changed, SETTINGS, "lake", ""), of, SETTINGS)


def charger_hour(meter_id: str, ac: float, dc: float, hour: int = 0, **values: Any) -> Row:
    """A row of charger_efficiency_hourly, like those of `vehicle_hour`."""
    row = vehicle_hour("VEH001", hour=hour, ac=ac, dc=dc)
    names = CHARGER_EFFICIENCY_HOURLY.names
    mine = {name: value for name, value in row.items() if name in names}
    return mine | {"meter_id": meter_id, "vehicle_ids": ["VEH001"], **values}


def shifted(row: Row, by: timedelta) -> Row:
    """The same row at another time."""
    times = ("hour_start", "first_ac", "last_ac", "first_dc", "last_dc")
    return {**row, **{name: row[name] + by for name in times}}


def depots(*names: str, zone: str | None = None) -> dict[str, Depot]:
    """Depots by id."""
    return {name: Depot(name, None, zone) for name in names}
