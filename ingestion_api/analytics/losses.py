"""Energy losses of the fleet in a window and their cost, from the lake's hourly tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

import polars as pl

from ingestion_api.analytics.lake_access import reading_the_lake
from ingestion_api.rest.parameters import Period
from lake import Column, hours_between
from lake.costs import (
    EfficiencyPointValue,
    Pricing,
    calculate_costs,
    costs_by_group,
    flows_of_fleet,
    group_by_price,
    hourly_flows,
    needs_chargers,
    sum_energies,
    value_of_one_point,
    worst_devices,
)
from lake.reads import TableVersion
from lake.schema import DATE, HOUR_START, number_column, text_column

By = Literal["hour", "day", "vehicle", "charger", "depot", "group"]
GROUPS: Final[dict[By, Column]] = {
    "hour": HOUR_START,
    "day": DATE,
    "vehicle": text_column("vehicle_id", "id of the vehicle"),
    "charger": text_column("meter_id", "id of the charger's meter"),
    "depot": text_column("depot", "id of the depot; null: the devices of none", nullable=True),
    "group": text_column("group", "name of the group; null: the devices of none", nullable=True),
}
LOSS_COLUMNS: Final = (
    number_column("energy_ac_kwh", "AC energy credited to vehicles, kWh", False),
    number_column(
        "unlinked_energy_ac_kwh", "AC energy of meters while they fed no vehicle, kWh", False
    ),
    number_column("rated_energy_ac_kwh", "AC energy of hours with a believable ratio, kWh", False),
    number_column("rated_energy_dc_kwh", "DC energy of the same hours, kWh", False),
    number_column("loss_kwh", "the difference of the two, kWh", False),
    number_column(
        "efficiency_percent", "100 * rated DC / rated AC energy, percent; null: no ratio"
    ),
    number_column(
        "cost_of_energy",
        "of all AC energy, in the currency, to 6 decimals; null: no price is known",
    ),
    number_column("cost_of_losses", "of loss_kwh, likewise"),
    text_column(
        "currency", "ISO 4217; null: no tariff, or several currencies and no cost", nullable=True
    ),
)
_NO_PRICES: Final = pl.LazyFrame(
    schema={
        "tariff": pl.String(),
        "hour_start": pl.Datetime("us", "UTC"),
        "currency": pl.String(),
        "price": pl.String(),
    }
)
_SHOWN: Final = Decimal(1).scaleb(-6)


@dataclass(frozen=True)
class LossTables:
    """Tables of hours that losses are added up from."""

    fleet: TableVersion
    vehicles: TableVersion
    chargers: TableVersion

    @property
    def numbers(self) -> list[int]:
        """The numbers of the versions."""
        return [self.fleet.number, self.vehicles.number, self.chargers.number]


@dataclass(frozen=True)
class Part:
    """The devices of a filter, in a table of the hours of their kind.

    `ids` are None where every device counts. `places` are the names of what rows are about, depot
    or group, by id.
    """

    table: TableVersion
    device: str
    ids: Sequence[str] | None
    places: Mapping[str, str]


@dataclass(frozen=True)
class Losses:
    """Rows of each group and currency with GROUPS and LOSS_COLUMNS.

    `total` is the same of all as one row, `totals` of each currency: costs of several are never
    added up. A point.
    """

    rows: pl.DataFrame
    total: dict[str, Any]
    totals: list[dict[str, Any]]
    point: EfficiencyPointValue | None


@reading_the_lake()
def losses(
    tables: LossTables,
    part: Part | None,
    period: Period,
    by: By,
    limit: int,
    pricing: Pricing | None,
) -> Losses:
    """The first `limit` hours or days in order, or others by greater loss; blocks.

    Raises LakeError.

    Without a part the rows and totals are those of the fleet. With one the rows are those of its
    table, and so are the totals where it leaves devices out.
    """
    name, is_time = GROUPS[by].name, by in ("hour", "day")
    whole = _flows(tables, tables.fleet, period, pricing)
    flows = whole if part is None else _flows_of(tables, part, period, by, pricing)
    keys = [name, "currency"]
    priced = _priced(flows, period, keys, pricing)
    order, falling = (keys, [False] * 2) if is_time else (["loss_kwh", *keys], [True, False, False])
    first = sum_energies(priced, keys).sort(order, descending=falling).head(limit)
    all_of_it = whole if part is None or part.ids is None else flows
    of_all = _priced(all_of_it, period, [], pricing)
    (total,) = _with_costs(sum_energies(of_all, []), of_all, []).to_dicts()
    totals = sum_energies(of_all, ["currency"]).drop_nulls("currency").sort("currency")
    by_currency = _with_costs(totals, of_all, ["currency"]).to_dicts()
    hours = all_of_it.select(pl.col("hour_start").n_unique()).collect().item()
    cost = calculate_costs(of_all, []).get(()) if total["currency"] else None
    point = value_of_one_point(
        total["rated_energy_ac_kwh"],
        total["rated_energy_dc_kwh"],
        hours,
        cost.rated if cost else None,
    )
    return Losses(_with_costs(first, priced, keys), total, by_currency, point)


@reading_the_lake()
def worst(
    tables: LossTables, part: Part, period: Period, count: int, pricing: Pricing | None
) -> pl.DataFrame:
    """The devices of lowest efficiency over the window, the lowest first; blocks.

    The columns are the device and LOSS_COLUMNS. Raises LakeError.
    """
    flows = _flows_of(tables, part, period, None, pricing)
    priced = _priced(flows, period, [part.device], pricing)
    rows = worst_devices(sum_energies(priced, [part.device]), part.device, count)
    return _with_costs(rows, priced, [part.device])


def _flows(
    tables: LossTables, table: TableVersion, period: Period, pricing: Pricing | None
) -> pl.LazyFrame:
    """The flows of a table, each with its tariff."""
    window = period.start, period.end
    rows = table.scan(*window)
    if pricing is None or not needs_chargers(pricing, table.spec):
        if pricing is not None and table is tables.chargers:
            rows = pricing.of_chargers(rows)
        else:
            only = pl.lit(pricing and pricing.only, pl.String)
            rows = rows.with_columns(tariff=only)
        return hourly_flows(table.spec, rows)
    chargers = tables.chargers.scan(*window)
    vehicles = pricing.of_vehicles(tables.vehicles.scan(*window), chargers)
    flows = hourly_flows(tables.vehicles.spec, vehicles)
    if table is tables.vehicles:
        return flows
    of_chargers = hourly_flows(tables.chargers.spec, pricing.of_chargers(chargers))
    return flows_of_fleet(flows, of_chargers)


def _flows_of(
    tables: LossTables, part: Part, period: Period, by: By | None, pricing: Pricing | None
) -> pl.LazyFrame:
    flows = _flows(tables, part.table, period, pricing)
    if part.ids is not None:
        flows = flows.filter(pl.col(part.device).is_in(part.ids))
    if by in ("depot", "group"):
        flows = flows.with_columns(_place(part).alias(by))
    return flows


def _place(part: Part) -> pl.Expr:
    return pl.col(part.device).replace_strict(part.places, default=None, return_dtype=pl.String)


def _priced(
    flows: pl.LazyFrame, period: Period, by: Sequence[str], pricing: Pricing | None
) -> pl.DataFrame:
    hours = hours_between(period.start, period.end)
    prices = pricing.prices(hours) if pricing else _NO_PRICES
    return group_by_price(flows, prices, by)


def _with_costs(rows: pl.DataFrame, priced: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """The rows with LOSS_COLUMNS; those of several currencies, or of none, have no costs."""
    shown = priced.join(rows.select(by), on=by, how="semi", nulls_equal=True) if by else priced
    money = costs_by_group(shown, by)
    groups = rows.select(by).iter_rows() if by else [()]
    of_rows = [money.get(group, (None, None)) for group in groups]
    costs_of_rows = [costs for _, costs in of_rows]
    return rows.with_columns(
        pl.Series(
            "cost_of_energy", [_shown(c.energy) if c else None for c in costs_of_rows], pl.Float64
        ),
        pl.Series(
            "cost_of_losses", [_shown(c.losses) if c else None for c in costs_of_rows], pl.Float64
        ),
        pl.Series("currency", [currency for currency, _ in of_rows], pl.String),
    ).select(*(name for name in by if name != "currency"), *(c.name for c in LOSS_COLUMNS))


def _shown(money: Decimal) -> float:
    return float(money.quantize(_SHOWN))
