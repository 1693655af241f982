"""The figures of a report: totals of a period and of those before it, and their evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import polars as pl
import polars.selectors as cs

from lake import DAY, EnergySettings, hour_of
from lake.costs import Pricing
from lake.energy import charger_totals, fleet_efficiency
from lake.reports import Kind, Period, Scope
from lake.schema import (
    CHARGER_EFFICIENCY_HOURLY,
    CHARGING_SESSION,
    VEHICLE_EFFICIENCY_HOURLY,
)
from pipelines.compute.places import Places
from pipelines.report.changes import Change, changes
from pipelines.report.quality import Excluded, Quality, excluded_energy, quality_of
from pipelines.report.totals import Totals, totals_of
from pipelines.report.visits import EVIDENCE, RECENT, Visits, visits_of_list, visits_of_rows
from pipelines.report.window import LIST_DAYS, PinnedTables, WindowRows, added_money, window_rows

# What each period is compared with: how it is called, and how many periods before it lies.
COMPARED: Final[Mapping[Kind, Sequence[tuple[str, int]]]] = {
    "day": (("the day before", -1), ("a week before", -7)),
    "week": (("the week before", -1), ("52 weeks before", -52)),
    "month": (("the month before", -1), ("a year before", -12)),
}

# All that totals need; a month of days has many rows.
_OF_STEPS: Final = (
    "vehicle_id",
    "meter_id",
    "status",
    "energy_ac_kwh",
    "energy_dc_kwh",
    "unlinked_energy_ac_kwh",
    "matched_energy_ac_kwh",
    "matched_energy_dc_kwh",
)


@dataclass(frozen=True)
class Compared:
    """An earlier period and its totals."""

    label: str
    period: Period
    totals: Totals


@dataclass(frozen=True)
class Figures:
    """Everything that a report says of a period and a scope.

    `vehicles` and `chargers` have a row for each device, as the tables of days have. A report of
    the fleet counts vehicles, and what meters gave nobody; that of a depot its chargers, whoever
    charged there, and lists the vehicles that are at home there. `steps` are the hours of a day, or
    the days of a longer period: `label`, and the columns of the fleet's table. `depots`: a row for
    each and currency. `sources`: the version of each table that was read.
    """

    period: Period
    scope: Scope
    name: str
    zone: str
    start: datetime
    end: datetime
    generated_at: datetime
    totals: Totals
    compared: Sequence[Compared]
    changes: Sequence[Change]
    visits: Visits
    excluded: Sequence[Excluded]
    quality: Quality
    vehicles: pl.DataFrame
    chargers: pl.DataFrame
    steps: pl.DataFrame
    depots: pl.DataFrame
    sources: Mapping[str, int]

    @property
    def is_partial(self) -> bool:
        """True if the period was not over when the report was made."""
        return self.generated_at < self.end

    @property
    def is_of_fleet(self) -> bool:
        """True for the whole fleet."""
        return self.scope.depot is None

    @property
    def hours(self) -> int:
        """The whole hours of the period."""
        return (self.end - self.start) // (DAY / 24)


class FigureReader:
    """Reader of figures; what several reports of a run share is read once."""

    def __init__(
        self,
        tables: PinnedTables,
        places: Places,
        settings: EnergySettings,
        pricing: Pricing | None,
        judged_days: Sequence[date],
        now: datetime,
    ) -> None:
        """`judged_days` are those whose maintenance list means nobody where it is empty."""
        self._tables, self._places, self._settings = tables, places, settings
        self._pricing, self._judged_days, self._now = pricing, judged_days, now
        self._rows: dict[tuple[datetime, datetime], WindowRows] = {}
        self._steps: dict[tuple[Period, str], tuple[pl.DataFrame, pl.DataFrame]] = {}

    def figures(self, period: Period, scope: Scope) -> Figures:
        """Read a report's figures. Of a period that is not over, those of its computed hours."""
        zone = self._places.zone(scope)
        start, end = period.window(zone)
        rows = self._of_scope(self._window(start, end), scope)
        earlier = [
            self._earlier(label, period.moved(count), scope)
            for label, count in COMPARED[period.kind]
        ]
        first, before = earlier[0]
        totals, until = totals_of(rows, scope), min(end, self._now)
        own = rows.vehicles if scope.depot is None else rows.chargers
        return Figures(
            period=period,
            scope=scope,
            name=self._places.name(scope),
            zone=zone.key,
            start=start,
            end=end,
            generated_at=self._now,
            totals=totals,
            compared=[one for one, _ in earlier if one is not None],
            # What is not over would differ from all that is.
            changes=changes(totals, first.totals, rows, before)
            if first is not None and end <= self._now
            else [],
            visits=self._visits(until, scope),
            excluded=excluded_energy(own, totals),
            quality=quality_of(rows, before, own, until, period.kind),
            vehicles=rows.vehicles,
            chargers=rows.chargers,
            steps=self._step_totals(period, scope),
            depots=depot_totals(rows.chargers, self._places.meters),
            sources=self._tables.versions,
        )

    def _earlier(
        self, label: str, period: Period, scope: Scope
    ) -> tuple[Compared | None, WindowRows]:
        """An earlier period and its rows; without totals where nothing is known of it."""
        rows = self._of_scope(self._window(*period.window(self._places.zone(scope))), scope)
        if rows.vehicles.is_empty() and rows.chargers.is_empty():
            return None, rows
        return Compared(label, period, totals_of(rows, scope)), rows

    def _visits(self, until: datetime, scope: Scope) -> Visits:
        """The newest list of a month before the end; without one what the days before it show.

        At half past midnight that is the list of the day before: the night is to come.
        """
        last = (until - DAY).date()
        rows = self._tables.visits(last)
        days = {day for day in self._judged_days if last - LIST_DAYS < day <= last}
        if days := days | {*rows["date"]}:
            listed = rows.filter(pl.col("date") == max(days))
            return visits_of_list(self._filtered_list(listed, scope), max(days))
        end = hour_of(until)
        recent = self._of_scope(self._window(end - RECENT, end), scope)
        sessions = self._tables.rows(CHARGING_SESSION, end - RECENT, end, EVIDENCE)
        return visits_of_rows(recent, sessions, self._settings)

    def _filtered_list(self, listed: pl.DataFrame, scope: Scope) -> pl.DataFrame:
        if scope.depot is None:
            return listed
        is_there = pl.lit(value=False)
        for kind, belonging in (("meter", self._places.meters), ("vehicle", self._places.vehicles)):
            ids = [device for device, depot in belonging.items() if depot == scope.depot]
            is_there |= (pl.col("device_kind") == kind) & pl.col("device_id").is_in(ids)
        return listed.filter(is_there)

    def _window(self, start: datetime, end: datetime, *, is_kept: bool = True) -> WindowRows:
        """Rows of a window, until now at most, as the running day's table has them."""
        end = min(end, max(hour_of(self._now), start + DAY / 24))
        found = self._rows.get((start, end))
        if found is None:
            found = window_rows(self._tables, start, end, self._settings, self._pricing)
            if is_kept:
                self._rows[start, end] = found
        return found

    def _of_scope(self, rows: WindowRows, scope: Scope) -> WindowRows:
        if scope.depot is None:
            return rows
        vehicles, chargers = self._filtered(rows.vehicles, rows.chargers, scope)
        used = chargers.filter(pl.col("energy_ac_kwh").fill_null(0.0) != 0)
        return WindowRows(vehicles, chargers, added_money(used))

    def _filtered(
        self, vehicles: pl.DataFrame, chargers: pl.DataFrame, scope: Scope
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The vehicles that are at home in a depot, and its chargers."""
        if scope.depot is None:
            return vehicles, chargers
        of_depot = (
            [device for device, depot in belonging.items() if depot == scope.depot]
            for belonging in (self._places.vehicles, self._places.meters)
        )
        found = zip((vehicles, chargers), ("vehicle_id", "meter_id"), of_depot, strict=True)
        vehicles, chargers = (rows.filter(pl.col(key).is_in(ids)) for rows, key, ids in found)
        return vehicles, chargers

    def _step_totals(self, period: Period, scope: Scope) -> pl.DataFrame:
        """The hours or days of the period, each with its label; nulls where it has no figures."""
        zone = self._places.zone(scope)
        if (period, zone.key) not in self._steps:
            self._steps[period, zone.key] = self._step_rows(period, scope)
        of_vehicles, of_chargers = self._filtered(*self._steps[period, zone.key], scope)
        found = _totals_by(of_vehicles, of_chargers, scope, "step")
        if period.kind == "day":
            start, end = period.window(zone)
            moments = [start + n * (DAY / 24) for n in range((end - start) // (DAY / 24))]
            every = [(moment, f"{moment.astimezone(zone):%H:%M}") for moment in moments]
        else:
            every = [
                (start, f"{day:%a} {day.day}" if period.kind == "week" else f"{day.day}")
                for day, start, _ in period.window_of_days(zone)
            ]
        steps = pl.DataFrame(
            every, {"step": pl.Datetime("us", "UTC"), "label": pl.String}, orient="row"
        )
        return steps.join(found, on="step", how="left", maintain_order="left")

    def _step_rows(self, period: Period, scope: Scope) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Rows of all vehicles and chargers with the `step` that they are about."""
        zone = self._places.zone(scope)
        if period.kind == "day":
            start, end = period.window(zone)
            vehicles, chargers = (
                self._tables.rows(spec, start, end, ("hour_start", *_OF_STEPS)).rename(
                    {"hour_start": "step"}
                )
                for spec in (VEHICLE_EFFICIENCY_HOURLY, CHARGER_EFFICIENCY_HOURLY)
            )
            return vehicles, chargers
        days = []
        for _, start, end in period.window_of_days(zone):
            if start < self._now:
                found = self._window(start, end, is_kept=False)
                step = pl.lit(start).cast(pl.Datetime("us", "UTC")).alias("step")
                days.append(
                    tuple(
                        rows.select(step, cs.by_name(*_OF_STEPS, require_all=False))
                        for rows in (found.vehicles, found.chargers)
                    )
                )
        vehicles, chargers = (pl.concat(of_days) for of_days in zip(*days, strict=True))
        return vehicles, chargers


def depot_totals(chargers: pl.DataFrame, depots: Mapping[str, str]) -> pl.DataFrame:
    """Add up rows of chargers by depot and currency; a null for the meters of no depot.

    Columns are depot, currency, energy_ac_kwh, loss_kwh and efficiency_percent of the rated
    chargers, cost_of_energy and cost_of_losses. Empty where no meter has a depot.
    """
    depot = pl.col("meter_id").replace_strict(depots, default=None, return_dtype=pl.String)
    rows = (
        chargers.lazy()
        .filter(pl.lit(value=bool(depots)))
        .with_columns(place=pl.struct(depot.alias("depot"), "currency"))
    )
    costs = (pl.col(name) for name in ("cost_of_energy", "cost_of_losses"))
    money = rows.group_by("place").agg(
        pl.when(cost.is_not_null().all()).then(cost.sum()) for cost in costs
    )
    return (
        charger_totals(rows, "place")
        .join(money, on="place")
        .unnest("place")
        .drop(cs.starts_with("vehicles"))
        .with_columns((pl.col("energy_ac_kwh") + pl.col("unlinked_energy_ac_kwh")).round(9))
        .sort("depot", "currency", nulls_last=True)
        .collect()
    )


def _totals_by(
    vehicles: pl.DataFrame, chargers: pl.DataFrame, scope: Scope, by: str
) -> pl.DataFrame:
    if scope.depot is None:
        return fleet_efficiency(vehicles.lazy(), chargers.lazy(), by).collect()
    return charger_totals(chargers.lazy(), by).collect()
