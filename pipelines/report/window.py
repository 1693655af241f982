"""Rows of any window of whole UTC hours, merged from the published tables of days and hours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Final

import polars as pl

from lake import DAY, EnergySettings, Lake, hours_between
from lake.costs import Pricing, costs_of_day
from lake.reads import TableReader, TableVersion
from lake.rollups import as_windows, merge_charger_hours, merge_vehicle_hours
from lake.schema import (
    CHARGER_EFFICIENCY_DAILY,
    CHARGER_EFFICIENCY_HOURLY,
    FLEET_EFFICIENCY_DAILY,
    MAINTENANCE_VISIT,
    VEHICLE_EFFICIENCY_DAILY,
    VEHICLE_EFFICIENCY_HOURLY,
    TableSpec,
)

LIST_DAYS: Final = timedelta(days=31)
_COSTS: Final = ("cost_of_energy", "cost_of_losses", "currency")


class PinnedTables:
    """Tables of the lake, each at the version that it had when it was first read."""

    def __init__(self, lake: Lake) -> None:
        self._reader = TableReader(lake)
        self._pinned: dict[str, TableVersion] = {}

    @property
    def versions(self) -> Mapping[str, int]:
        """The versions of what was read, by table."""
        return {name: self._pinned[name].number for name in sorted(self._pinned)}

    def rows(
        self,
        spec: TableSpec,
        start: datetime,
        end: datetime,
        columns: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Read the rows about times in [start, end); of a table of days about days in it.

        With all columns, or those of the `columns` that the table has.
        """
        if spec.name not in self._pinned:
            self._pinned[spec.name] = self._reader.newest_version(spec)
        wanted = [name for name in spec.names if columns is None or name in columns]
        return self._pinned[spec.name].scan(start, end).select(wanted).collect()

    def visits(self, last: date) -> pl.DataFrame:
        """Read the maintenance lists of a month up to a UTC day."""
        end = datetime.combine(last, time(), UTC) + DAY
        return self.rows(MAINTENANCE_VISIT, end - LIST_DAYS, end)


@dataclass(frozen=True)
class Money:
    """Costs in one currency; None where a price is not known, or there are several currencies."""

    energy: Decimal | None = None
    losses: Decimal | None = None
    currency: str | None = None


@dataclass(frozen=True)
class WindowRows:
    """Rows of a window: one for each vehicle and each charger, with COST_COLUMNS.

    `money` is what the energy of the fleet cost.
    """

    vehicles: pl.DataFrame
    chargers: pl.DataFrame
    money: Money


def window_rows(
    tables: PinnedTables,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
    pricing: Pricing | None,
) -> WindowRows:
    """Merge the UTC days that lie in the window, and the hours before and after these.

    Facts add up, so that is what the hours of the window give. Costs of days are those of the
    tables, of hours beside them by the prices of now.
    """
    first, last = _midnight_from(start), _midnight_until(end)
    edges = [(start, min(first, end)), (max(last, first), end)] if first < last else [(start, end)]
    vehicle_days, charger_days, fleet_days = (
        tables.rows(spec, first, max(last, first))
        for spec in (VEHICLE_EFFICIENCY_DAILY, CHARGER_EFFICIENCY_DAILY, FLEET_EFFICIENCY_DAILY)
    )
    vehicle_hours, charger_hours = (
        pl.concat([tables.rows(spec, *edge) for edge in edges])
        for spec in (VEHICLE_EFFICIENCY_HOURLY, CHARGER_EFFICIENCY_HOURLY)
    )
    hours = [hour for edge in edges if edge[0] < edge[1] for hour in hours_between(*edge)]
    costs = costs_of_day(vehicle_hours, charger_hours, hours, pricing)
    vehicles = merge_vehicle_hours(
        pl.concat([as_windows(vehicle_days), as_windows(vehicle_hours)], how="diagonal"),
        *(start, end, settings),
    )
    chargers = merge_charger_hours(
        pl.concat([as_windows(charger_days), as_windows(charger_hours)], how="diagonal"),
        *(start, end, settings),
    )
    is_priced = pricing is not None or not hours
    fleet_parts = [part.select(_COSTS) for part in (fleet_days, costs.fleet)]
    return WindowRows(
        _with_costs(vehicles, "vehicle_id", [vehicle_days, costs.vehicles], is_priced),
        _with_costs(chargers, "meter_id", [charger_days, costs.chargers], is_priced),
        added_money(pl.concat(fleet_parts)) if is_priced else Money(),
    )


def added_money(costs: pl.DataFrame) -> Money:
    """Add rows of COST_COLUMNS up exactly; nothing is known where one of them knows nothing."""
    if costs.is_empty():
        return Money()
    ((energy, losses, currency),) = costs.select(_added_costs()).iter_rows()
    return Money(energy, losses, currency)


def _with_costs(
    rows: pl.DataFrame, key: str, parts: list[pl.DataFrame], is_priced: bool
) -> pl.DataFrame:
    costs = pl.concat([part.select(key, *_COSTS) for part in parts])
    if not is_priced:
        costs = costs.clear()
    added = costs.group_by(key).agg(_added_costs())
    return rows.join(added, on=key, how="left", maintain_order="left")


def _added_costs() -> list[pl.Expr]:
    currency = pl.col("currency")
    is_one = currency.is_not_null().all() & (currency.n_unique() == 1)
    return [
        *(
            pl.when(is_one & pl.col(n).is_not_null().all()).then(pl.col(n).sum())
            for n in _COSTS[:2]
        ),
        pl.when(is_one).then(currency.first()),
    ]


def _midnight_from(moment: datetime) -> datetime:
    return _midnight_until(moment + DAY - timedelta(microseconds=1))


def _midnight_until(moment: datetime) -> datetime:
    return datetime.combine(moment.astimezone(UTC).date(), time(), UTC)
