"""The tariff of the energy of an hour: that of the charger that gave it."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

import polars as pl

from lake.costs.tariff import Tariffs
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_HOURLY
from lake.schema.partitions import HOUR
from lake.schema.table_spec import TableSpec


@dataclass(frozen=True)
class Pricing:
    """Tariffs, and the names of those that meters have; all other meters have the default one."""

    tariffs: Tariffs
    of_meters: Mapping[str, str]

    @property
    def only(self) -> str | None:
        """The name of the tariff that every meter has; None where there is no such one."""
        default = self.tariffs.default
        return default if set(self.of_meters.values()) <= {default} else None

    def prices(self, hours: Iterable[datetime]) -> pl.LazyFrame:
        """Return tariff, hour_start, currency, price (exact text) of UTC hours.

        A price is null where the tariff has none.
        """
        rows = [
            (name, hour, tariff.currency, None if price is None else str(price))
            for hour in hours
            for name, tariff in self.tariffs.tariffs.items()
            for price in [tariff.price_of_hour(hour)]
        ]
        schema = {
            "tariff": pl.String(),
            "hour_start": pl.Datetime("us", "UTC"),
            "currency": pl.String(),
            "price": pl.String(),
        }
        return pl.LazyFrame(rows, schema, orient="row")

    def mean_prices(self, hours: Iterable[datetime]) -> pl.LazyFrame:
        """Return tariff, currency, price_per_kwh: the mean of UTC hours; null if one has none.

        To 6 decimals, as prices are given: sums of floats differ in their last digits.
        """
        price = pl.col("price").cast(pl.Float64)
        return (
            self.prices(hours)
            .group_by("tariff", "currency")
            .agg(
                price_per_kwh=pl.when(price.is_null().any())
                .then(None)
                .otherwise(price.mean().round(6))
            )
        )

    def of_chargers(self, chargers: pl.LazyFrame) -> pl.LazyFrame:
        """Add `tariff` to rows with a meter_id."""
        return chargers.with_columns(tariff=self._of(pl.col("meter_id")))

    def of_vehicles(self, vehicles: pl.LazyFrame, chargers: pl.LazyFrame) -> pl.LazyFrame:
        """Add `tariff` to rows of VEHICLE_EFFICIENCY_HOURLY, with the chargers' rows of the hours.

        It is that of the charger that gave the most energy in the hour, of equal ones the first by
        id; of a vehicle at none the default one.
        """
        if self.only is not None:
            return vehicles.with_columns(tariff=pl.lit(self.only, pl.String))
        linked = (
            vehicles.select("hour_start", "vehicle_id", meter_id=pl.col("meter_ids"))
            .explode("meter_id")
            .drop_nulls("meter_id")
        )
        given = chargers.select(
            "hour_start",
            "meter_id",
            given=pl.col("energy_ac_kwh") - pl.col("unlinked_energy_ac_kwh"),
        )
        found = (
            self.of_chargers(linked.join(given, on=["hour_start", "meter_id"], how="left"))
            .with_columns(pl.col("given").fill_null(0.0))
            .sort("given", "meter_id", descending=[True, False])
            .group_by("hour_start", "vehicle_id", maintain_order=True)
            .agg(pl.col("tariff").first(), is_linked=pl.lit(True))
        )
        default = pl.lit(self.tariffs.default, pl.String)
        return (
            vehicles.join(found, on=["hour_start", "vehicle_id"], how="left")
            .with_columns(tariff=pl.when("is_linked").then("tariff").otherwise(default))
            .drop("is_linked")
        )

    def _of(self, meter: pl.Expr) -> pl.Expr:
        default = pl.lit(self.tariffs.default, pl.String)
        return meter.replace_strict(self.of_meters, default=default, return_dtype=pl.String)


def needs_chargers(pricing: Pricing | None, spec: TableSpec) -> bool:
    """Tell whether rows of a table are priced by the chargers that gave their energy."""
    return pricing is not None and pricing.only is None and spec != CHARGER_EFFICIENCY_HOURLY


def repriced(
    before: Tariffs | None, after: Tariffs | None, used: Collection[str], days: Iterable[date]
) -> list[date]:
    """Return the days on which any hour has another price, by the default or a `used` tariff."""

    def prices(tariffs: Tariffs | None, day: date) -> list[object]:
        if tariffs is None:
            return []
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        hours = [start + n * HOUR for n in range(24)]
        names = [("", tariffs.default), *((name, name) for name in sorted(used))]
        found = [(as_, tariffs.tariffs.get(name or "")) for as_, name in names]
        return [
            (as_, of.currency, [of.price_of_hour(hour) for hour in hours])
            for as_, of in found
            if of is not None
        ]

    return [day for day in days if prices(before, day) != prices(after, day)]
