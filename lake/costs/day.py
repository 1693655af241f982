"""Costs of a day: of its vehicles, its chargers and the fleet."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple

import polars as pl

from lake.costs.losses import (
    costs_by_group,
    flows_of_fleet,
    group_by_price,
    hourly_flows,
)
from lake.costs.pricing import Pricing
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_HOURLY
from lake.schema.vehicle_efficiency import VEHICLE_EFFICIENCY_HOURLY

_MONEY: Final = pl.Decimal(38, 17)


class DayCosts(NamedTuple):
    """COST_COLUMNS by vehicle_id, by meter_id, and of the fleet by date."""

    vehicles: pl.DataFrame
    chargers: pl.DataFrame
    fleet: pl.DataFrame


def costs_of_day(
    vehicles: pl.DataFrame,
    chargers: pl.DataFrame,
    hours: Iterable[datetime],
    pricing: Pricing | None,
) -> DayCosts:
    """Return the exact costs of the rows of VEHICLE_ and CHARGER_EFFICIENCY_HOURLY of a day.

    Without tariffs there are none.
    """
    if pricing is None:
        empty = (("vehicle_id", pl.String()), ("meter_id", pl.String()), ("date", pl.Date()))
        return DayCosts(*(pl.DataFrame(schema=_schema(*key)) for key in empty))
    prices = pricing.prices(hours)
    of_vehicles = hourly_flows(
        VEHICLE_EFFICIENCY_HOURLY, pricing.of_vehicles(vehicles.lazy(), chargers.lazy())
    )
    of_chargers = hourly_flows(CHARGER_EFFICIENCY_HOURLY, pricing.of_chargers(chargers.lazy()))
    return DayCosts(
        group_costs(of_vehicles, prices, "vehicle_id", pl.String()),
        group_costs(of_chargers, prices, "meter_id", pl.String()),
        group_costs(flows_of_fleet(of_vehicles, of_chargers), prices, "date", pl.Date()),
    )


def group_costs(
    flows: pl.LazyFrame, prices: pl.LazyFrame, key: str, kind: pl.DataType
) -> pl.DataFrame:
    """Return the exact costs of `hourly_flows` by their column `key`: it, and COST_COLUMNS."""
    found = costs_by_group(group_by_price(flows, prices, [key]), [key])
    rows = [
        (*group, costs and costs.energy, costs and costs.losses, currency)
        for group, (currency, costs) in found.items()
    ]
    return pl.DataFrame(rows, _schema(key, kind), orient="row")


def _schema(key: str, kind: pl.DataType) -> dict[str, pl.DataType]:
    money = {"cost_of_energy": _MONEY, "cost_of_losses": _MONEY}
    return {key: kind, **money, "currency": pl.String()}
