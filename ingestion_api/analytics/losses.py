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
    Costs,
    EfficiencyPointValue,
    Tariff,
    calculate_costs,
    group_by_price,
    hourly_flows,
    prices_of_hours,
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
        "of all AC energy, in the currency of the tariff, to 6 decimals; null: no price is known",
    ),
    number_column("cost_of_losses", "of loss_kwh, likewise"),
)
_SHOWN: Final = Decimal(1).scaleb(-6)


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
    """Rows of each group with GROUPS and LOSS_COLUMNS, the same of all as one row, a point."""

    rows: pl.DataFrame
    total: dict[str, Any]
    point: EfficiencyPointValue | None


@reading_the_lake()
def losses(
    fleet: TableVersion,
    part: Part | None,
    period: Period,
    by: By,
    limit: int,
    tariff: Tariff | None,
) -> Losses:
    """The first `limit` hours or days in order, or others by greater loss; blocks.

    Raises LakeError.

    Without a part the rows and totals are those of the fleet. With one the rows are those of its
    table, and so are the totals where it leaves devices out.
    """
    name, is_time = GROUPS[by].name, by in ("hour", "day")
    whole = _flows(fleet, period)
    flows = whole if part is None else _flows_of(part, period, by)
    priced = _priced(flows, period, [name], tariff)
    order = [name] if is_time else ["loss_kwh", name]
    rows = sum_energies(priced, [name]).sort(order, descending=[not is_time, False][: len(order)])
    rows, _ = _with_costs(rows.head(limit), priced, [name], tariff)
    all_of_it = whole if part is None or part.ids is None else flows
    of_all = _priced(all_of_it, period, [], tariff)
    total, money = _with_costs(sum_energies(of_all, []), of_all, [], tariff)
    (row,) = total.to_dicts()
    hours = all_of_it.select(pl.col("hour_start").n_unique()).collect().item()
    cost = money.get(())
    point = value_of_one_point(
        row["rated_energy_ac_kwh"],
        row["rated_energy_dc_kwh"],
        hours,
        cost.rated if cost else None,
    )
    return Losses(rows, row, point)


@reading_the_lake()
def worst(part: Part, period: Period, count: int, tariff: Tariff | None) -> pl.DataFrame:
    """The devices of lowest efficiency over the window, the lowest first; blocks.

    The columns are the device and LOSS_COLUMNS. Raises LakeError.
    """
    flows = _flows(part.table, period)
    if part.ids is not None:
        flows = flows.filter(pl.col(part.device).is_in(part.ids))
    priced = _priced(flows, period, [part.device], tariff)
    rows = worst_devices(sum_energies(priced, [part.device]), part.device, count)
    return _with_costs(rows, priced, [part.device], tariff)[0]


def _flows(table: TableVersion, period: Period) -> pl.LazyFrame:
    return hourly_flows(table.spec, table.scan(period.start, period.end))


def _flows_of(part: Part, period: Period, by: By) -> pl.LazyFrame:
    flows = _flows(part.table, period)
    if part.ids is not None:
        flows = flows.filter(pl.col(part.device).is_in(part.ids))
    if by in ("depot", "group"):
        place = pl.col(part.device).replace_strict(
            part.places, default=None, return_dtype=pl.String
        )
        flows = flows.with_columns(place.alias(by))
    return flows


def _place(part: Part) -> pl.Expr:
    return pl.col(part.device).replace_strict(part.places, default=None, return_dtype=pl.String)


def _priced(
    flows: pl.LazyFrame, period: Period, by: Sequence[str], tariff: Tariff | None
) -> pl.DataFrame:
    prices = prices_of_hours(tariff, hours_between(period.start, period.end)) if tariff else {}
    return group_by_price(flows, prices, by)


def _with_costs(
    rows: pl.DataFrame, priced: pl.DataFrame, by: Sequence[str], tariff: Tariff | None
) -> tuple[pl.DataFrame, dict[tuple[Any, ...], Costs | None]]:
    """The rows with what each cost, and the exact costs; without a tariff there are none."""
    shown = priced.join(rows.select(by), on=by, how="semi") if by else priced
    money = calculate_costs(shown, by) if tariff else {}
    groups = list(rows.select(by).iter_rows()) if by else [()]
    found = [money.get(group) for group in groups]
    with_money = rows.with_columns(
        pl.Series("cost_of_energy", [_shown(c.energy) if c else None for c in found], pl.Float64),
        pl.Series("cost_of_losses", [_shown(c.losses) if c else None for c in found], pl.Float64),
    )
    return with_money.select(*by, *(column.name for column in LOSS_COLUMNS)), money


def _shown(money: Decimal) -> float:
    return float(money.quantize(_SHOWN))
