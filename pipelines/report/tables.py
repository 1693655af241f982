"""The rows of a report as CSV and Parquet."""

import io
from typing import Any, Final

import polars as pl
import polars.selectors as cs
import pyarrow.parquet as pq

from lake.csv_injection import escape_frame
from pipelines.report.figures import Figures
from pipelines.report.totals import Totals

_MONEY: Final = pl.Decimal(38, 17)
_IDS: Final = {name: pl.String() for name in ("period", "scope", "depot", "vehicle_id", "meter_id")}


def rows_of(figures: Figures) -> pl.DataFrame:
    """A row for the fleet or the depot, then one for each of its vehicles and chargers.

    Energies in kWh, shares 0-1, efficiency in percent; a null is not known.
    """
    of_all = "fleet" if figures.is_of_fleet else "depot"
    parts = (
        (of_all, _total_row(figures.totals)),
        ("vehicle", figures.vehicles.drop("hour_start").sort("vehicle_id")),
        ("charger", figures.chargers.drop("hour_start").sort("meter_id")),
    )
    frames = [
        rows.with_columns(
            pl.lit(figures.period.key).alias("period"),
            pl.lit(scope).alias("scope"),
            pl.lit(figures.scope.depot, pl.String).alias("depot"),
        )
        for scope, rows in parts
    ]
    columns = pl.concat(
        [pl.DataFrame(schema=_IDS), *(rows.clear() for rows in frames[1:])], how="diagonal"
    )
    return pl.concat([columns, *frames], how="diagonal")


def csv_table(rows: pl.DataFrame) -> bytes:
    """Rows of `rows_of` as CSV; an empty field is not known."""
    return escape_frame(rows.with_columns(cs.list().list.join(" "))).write_csv().encode()


def parquet_table(rows: pl.DataFrame) -> bytes:
    """Rows of `rows_of` as a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(rows.rechunk().to_arrow(), sink, compression="zstd")
    return sink.getvalue()


def _total_row(totals: Totals) -> pl.DataFrame:
    row: dict[str, Any] = {
        "energy_ac_kwh": totals.linked_kwh,
        "energy_dc_kwh": totals.delivered_kwh,
        "unlinked_energy_ac_kwh": totals.unlinked_kwh,
        "rated_energy_ac_kwh": totals.rated_ac_kwh,
        "rated_energy_dc_kwh": totals.rated_dc_kwh,
        "loss_kwh": totals.lost_kwh,
        "efficiency_percent": totals.efficiency_percent,
        "devices": totals.devices,
        **{f"devices_{name}": count for name, count in totals.statuses.items()},
        "cost_of_energy": totals.money.energy,
        "cost_of_losses": totals.money.losses,
        "currency": totals.money.currency,
    }
    kinds = {
        "efficiency_percent": pl.Float64(),
        "cost_of_energy": _MONEY,
        "cost_of_losses": _MONEY,
        "currency": pl.String(),
    }
    return pl.DataFrame([row], schema_overrides=kinds)
