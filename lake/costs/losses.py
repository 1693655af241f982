"""Energy lost between the meters and the batteries, over a window, and what it costs.

Formulas and assumptions are explained in docs/energy.md. Energies add up in whole microwatt-hours
and money in decimal numbers, so parts add up to their whole exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any, Final

import polars as pl

from lake.energy.exact import exact_sum
from lake.energy.fleet import ratio_percent, sort_by_efficiency
from lake.energy.status import RATED
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_HOURLY
from lake.schema.table_spec import TableSpec
from lake.schema.vehicle_efficiency import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY

HOURS_A_YEAR: Final = 8_766
ENERGIES: Final = (
    "energy_ac_kwh",
    "unlinked_energy_ac_kwh",
    "rated_energy_ac_kwh",
    "rated_energy_dc_kwh",
    "loss_kwh",
)
_DAY: Final = pl.col("hour_start").dt.date().alias("date")
# Money is added as whole numbers of 10^-9 kWh times 10^-8 of the currency: a price has 6 decimals,
# and the mean of four quarters two more.
_PER_KWH: Final = 10**9
_PER_MONEY: Final = 10**8
_DIGITS: Final = 60  # more than any sum here has
_EXACT: Final = Decimal(1).scaleb(-9)


@dataclass(frozen=True)
class Costs:
    """Money for the energy of all hours, of the rated ones, and for what was lost; exact."""

    energy: Decimal = Decimal(0)
    rated: Decimal = Decimal(0)
    losses: Decimal = Decimal(0)


@dataclass(frozen=True)
class EfficiencyPointValue:
    """The worth of one percentage point for a year; `cost` is None without prices."""

    energy_kwh: float
    cost: Decimal | None


def hourly_flows(spec: TableSpec, rows: pl.LazyFrame, device: str | None = None) -> pl.LazyFrame:
    """Return hours of any efficiency table in one form: hour_start, date, device, tariff, ENERGIES.

    Rows have the name of their tariff beside the columns of the table; `device` names another
    column than that of the table's devices. Energies in kWh;
    `energy_ac_kwh` is what was credited to vehicles. Rated is an hour with a believable ratio
    (excellent to critical), and only of such hours a loss is known.
    """
    time = [pl.col("hour_start"), _DAY, pl.col("tariff")]
    if spec is FLEET_EFFICIENCY_HOURLY:
        return rows.select(*time, *map(pl.col, ENERGIES))
    if device is None:
        device = "vehicle_id" if spec is VEHICLE_EFFICIENCY_HOURLY else "meter_id"
    unlinked = (
        pl.col("unlinked_energy_ac_kwh") if spec is CHARGER_EFFICIENCY_HOURLY else pl.lit(0.0)
    )
    rated_ac, rated_dc = pl.col("matched_energy_ac_kwh"), pl.col("matched_energy_dc_kwh")
    is_rated = pl.col("status").is_in(RATED)
    return rows.select(
        *time,
        pl.col(device),
        (pl.col("energy_ac_kwh") - unlinked).round(9).alias(ENERGIES[0]),
        unlinked.alias(ENERGIES[1]),
        pl.when(is_rated).then(rated_ac).alias(ENERGIES[2]),
        pl.when(is_rated).then(rated_dc).alias(ENERGIES[3]),
        pl.when(is_rated).then((rated_ac - rated_dc).round(9)).alias(ENERGIES[4]),
    )


def flows_of_fleet(vehicles: pl.LazyFrame, chargers: pl.LazyFrame) -> pl.LazyFrame:
    """Return the flows of the fleet from those of its vehicles, and what its chargers gave nobody.

    They add up to those of the fleet's own table, and each has the tariff of its charger.
    """
    unlinked = chargers.select(
        "hour_start",
        "date",
        "tariff",
        *(
            pl.col(name) if name == "unlinked_energy_ac_kwh" else pl.lit(0.0).alias(name)
            for name in ENERGIES
        ),
    )
    return pl.concat([vehicles.select(unlinked.collect_schema().names()), unlinked])


def group_by_price(flows: pl.LazyFrame, prices: pl.LazyFrame, by: Sequence[str]) -> pl.DataFrame:
    """Add ENERGIES up by group, `currency` and `price`, null where a kWh has none.

    `prices` are rows of `Pricing.prices`.
    """
    sums = [exact_sum(pl.col(name)).fill_null(0.0) for name in ENERGIES]
    priced = flows.join(prices, on=["tariff", "hour_start"], how="left")
    keys = dict.fromkeys((*by, "currency", "price"))
    return priced.group_by(*keys).agg(sums).collect()


def sum_energies(priced: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Add ENERGIES of `group_by_price` up by group, in any order, with efficiency_percent."""
    sums = [exact_sum(pl.col(name)).fill_null(0.0) for name in ENERGIES]
    grouped = priced.lazy().group_by(*by).agg(sums) if by else priced.lazy().select(sums)
    rated_ac, rated_dc = pl.col("rated_energy_ac_kwh"), pl.col("rated_energy_dc_kwh")
    return grouped.with_columns(efficiency_percent=ratio_percent(rated_ac, rated_dc)).collect()


def calculate_costs(priced: pl.DataFrame, by: Sequence[str]) -> dict[tuple[Any, ...], Costs | None]:
    """Return the costs by group of `group_by_price`; None where energy flowed without a price.

    Only groups of one currency have costs that mean anything: name it in `by`.
    """
    found: dict[tuple[Any, ...], list[int] | None] = {}
    scaled = {text: int(Decimal(text) * _PER_MONEY) for text in priced["price"].drop_nulls()}
    energies = [(pl.col(name) * _PER_KWH).round().cast(pl.Int64) for name in ENERGIES]
    for *group, text, energy, unlinked, rated, _, lost in priced.select(
        *by, "price", *energies
    ).iter_rows():
        before = found.get(tuple(group), [0, 0, 0])
        if text is None:
            before = None if energy or unlinked else before
        elif before is not None:
            price, parts = scaled[text], (energy + unlinked, rated, lost)
            before = [sum_ + part * price for sum_, part in zip(before, parts, strict=True)]
        found[tuple(group)] = before
    return {
        group: None if sums is None else Costs(*(_money(one) for one in sums))
        for group, sums in found.items()
    }


def costs_by_group(
    priced: pl.DataFrame, by: Sequence[str]
) -> dict[tuple[Any, ...], tuple[str | None, Costs | None]]:
    """Return the currency and the costs by group of `group_by_price`.

    Both are None in a group of several currencies, or with energy that has no tariff.
    """
    money: dict[tuple[Any, ...], dict[str | None, Costs | None]] = {}
    for key, costs in calculate_costs(priced, [*dict.fromkeys((*by, "currency"))]).items():
        money.setdefault(key[: len(by)], {})[key[-1]] = costs
    found: dict[tuple[Any, ...], tuple[str | None, Costs | None]] = {}
    for group, costs_of in money.items():
        known = [(name, costs) for name, costs in costs_of.items() if name is not None]
        is_whole = len(known) == 1 and costs_of.get(None, Costs()) == Costs()
        found[group] = known[0] if is_whole else (None, None)
    return found


def worst_devices(added: pl.DataFrame, device: str, count: int) -> pl.DataFrame:
    """Return the `count` devices of `sum_energies` of lowest efficiency, the lowest first."""
    rated = added.lazy().filter(pl.col("efficiency_percent").is_not_null())
    return sort_by_efficiency(rated, device).head(count).collect()


def value_of_one_point(
    rated_ac_kwh: float, rated_dc_kwh: float, hours: int, cost: Decimal | None
) -> EfficiencyPointValue | None:
    """Return what the fleet would save in a year if 1 kWh more of each 100 reached a battery.

    The demand of the batteries in these hours goes on for a year: E_dc * (1 / e - 1 / (e + 0.01)),
    at the mean price of the rated energy, `cost` / `rated_ac_kwh`. None where there is no ratio.
    """
    if not (hours and rated_ac_kwh > 0 and rated_dc_kwh > 0):
        return None
    ratio = rated_dc_kwh / rated_ac_kwh
    saved = rated_dc_kwh * HOURS_A_YEAR / hours * (1 / ratio - 1 / (ratio + 0.01))
    if cost is None:
        return EfficiencyPointValue(saved, None)
    return EfficiencyPointValue(saved, Decimal(repr(saved)) * cost / _decimal(rated_ac_kwh))


def _money(scaled: int) -> Decimal:
    with localcontext(prec=_DIGITS):
        return Decimal(scaled) / _PER_KWH / _PER_MONEY


def _decimal(kwh: float) -> Decimal:
    return Decimal(repr(kwh)).quantize(_EXACT)
