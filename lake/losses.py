"""Energy lost between the meters and the batteries, over a window, and what it costs.

Formulas and assumptions are explained in docs/energy.md. Energies add up in whole microwatt-hours
and money in decimal numbers, so parts add up to their whole exactly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext
from typing import Any, Final

import polars as pl

from lake.charger_efficiency import CHARGER_EFFICIENCY_HOURLY
from lake.derived import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY
from lake.efficiency import RATED, efficiency_percent, lowest_first
from lake.energy import exact_sum
from lake.settings import EnergySettings
from lake.table_spec import TableSpec

HOURS_A_YEAR: Final = 8_766
ENERGIES: Final = (
    "energy_ac_kwh",
    "unlinked_energy_ac_kwh",
    "rated_energy_ac_kwh",
    "rated_energy_dc_kwh",
    "loss_kwh",
)
_DAY: Final = pl.col("hour_start").dt.date().alias("date")
_DIGITS: Final = 60  # more than any sum here has
_EXACT: Final = Decimal(1).scaleb(-9)


@dataclass(frozen=True)
class Costs:
    """Money for the energy of all hours, of the rated ones, and for what was lost; exact."""

    energy: Decimal = Decimal(0)
    rated: Decimal = Decimal(0)
    losses: Decimal = Decimal(0)


@dataclass(frozen=True)
class PointOfEfficiency:
    """What one percentage point is worth in a year; `cost` is None without prices."""

    energy_kwh: float
    cost: Decimal | None


def hourly_flows(spec: TableSpec, rows: pl.LazyFrame) -> pl.LazyFrame:
    """Hours of vehicles, chargers or the fleet in one form: hour_start, date, device, ENERGIES.

    Energies in kWh; `energy_ac_kwh` is what was credited to vehicles. Rated is an hour with a
    believable ratio (excellent to critical), and only of such hours a loss is known.
    """
    time = [pl.col("hour_start"), _DAY]
    if spec is FLEET_EFFICIENCY_HOURLY:
        return rows.select(*time, *map(pl.col, ENERGIES))
    device = "vehicle_id" if spec is VEHICLE_EFFICIENCY_HOURLY else "meter_id"
    unlinked = (
        pl.col("unlinked_energy_ac_kwh") if spec is CHARGER_EFFICIENCY_HOURLY else pl.lit(0.0)
    )
    energy_dc, loss = pl.col("energy_dc_kwh"), pl.col("loss_kwh")
    is_rated = pl.col("status").is_in(RATED)
    return rows.select(
        *time,
        pl.col(device),
        (pl.col("energy_ac_kwh") - unlinked).round(9).alias(ENERGIES[0]),
        unlinked.alias(ENERGIES[1]),
        pl.when(is_rated).then((energy_dc + loss).round(9)).alias(ENERGIES[2]),
        pl.when(is_rated).then(energy_dc).alias(ENERGIES[3]),
        pl.when(is_rated).then(loss).alias(ENERGIES[4]),
    )


def by_price(
    flows: pl.LazyFrame, prices: Mapping[datetime, Decimal], by: Sequence[str]
) -> pl.DataFrame:
    """ENERGIES of each group and `price`, null where a kWh has none; prices are exact text."""
    known = pl.LazyFrame(
        {"hour_start": list(prices), "price": [str(price) for price in prices.values()]},
        schema={"hour_start": pl.Datetime("us", "UTC"), "price": pl.String},
    )
    return (
        flows.join(known, on="hour_start", how="left")
        .group_by(*by, "price")
        .agg(exact_sum(pl.col(name)).fill_null(0.0) for name in ENERGIES)
        .collect()
    )


def added_up(priced: pl.DataFrame, by: Sequence[str], settings: EnergySettings) -> pl.DataFrame:
    """ENERGIES of each group of `by_price`, in any order, with their efficiency_percent."""
    sums = [exact_sum(pl.col(name)).fill_null(0.0) for name in ENERGIES]
    grouped = priced.lazy().group_by(*by).agg(sums) if by else priced.lazy().select(sums)
    rated_ac, rated_dc = pl.col("rated_energy_ac_kwh"), pl.col("rated_energy_dc_kwh")
    return grouped.with_columns(
        efficiency_percent=efficiency_percent(rated_ac, rated_dc, settings)
    ).collect()


def costs(priced: pl.DataFrame, by: Sequence[str]) -> dict[tuple[Any, ...], Costs | None]:
    """The costs of each group of `by_price`; None where energy flowed that has no price."""
    found: dict[tuple[Any, ...], Costs | None] = {}
    with localcontext(prec=_DIGITS):
        for row in priced.iter_rows(named=True):
            group = tuple(row[name] for name in by)
            found[group] = _plus(found.get(group, Costs()), row)
    return found


def worst_devices(added: pl.DataFrame, device: str, count: int) -> pl.DataFrame:
    """The `count` devices of `added_up` of lowest efficiency, the lowest first."""
    rated = added.lazy().filter(pl.col("efficiency_percent").is_not_null())
    return lowest_first(rated, device).head(count).collect()


def one_point_a_year(
    rated_ac_kwh: float, rated_dc_kwh: float, hours: int, cost: Decimal | None
) -> PointOfEfficiency | None:
    """What the fleet would save in a year if of each 100 kWh one more reached a battery.

    The demand of the batteries in these hours goes on for a year: E_dc * (1 / e - 1 / (e + 0.01)),
    at the mean price of the rated energy, `cost` / `rated_ac_kwh`. None where there is no ratio.
    """
    if not (hours and rated_ac_kwh > 0 and rated_dc_kwh > 0):
        return None
    ratio = rated_dc_kwh / rated_ac_kwh
    saved = rated_dc_kwh * HOURS_A_YEAR / hours * (1 / ratio - 1 / (ratio + 0.01))
    if cost is None:
        return PointOfEfficiency(saved, None)
    return PointOfEfficiency(saved, Decimal(repr(saved)) * cost / _decimal(rated_ac_kwh))


def _plus(before: Costs | None, row: Mapping[str, Any]) -> Costs | None:
    energy, unlinked, rated, _, losses = (_decimal(row[name]) for name in ENERGIES)
    if row["price"] is None:
        return None if energy or unlinked else before
    if before is None:
        return None
    price = Decimal(row["price"])
    return Costs(
        before.energy + (energy + unlinked) * price,
        before.rated + rated * price,
        before.losses + losses * price,
    )


def _decimal(kwh: float) -> Decimal:
    return Decimal(repr(kwh)).quantize(_EXACT)
