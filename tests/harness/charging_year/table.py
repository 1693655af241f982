"""The sessions of a simulated year as rows of the lake's table."""

from datetime import UTC, datetime, time, timedelta
from uuid import NAMESPACE_OID, uuid5

import polars as pl

from lake import DAY, Lake, replace_hours
from lake.schema.charging_session import CHARGING_SESSION


def write_sessions(lake: Lake, sessions: pl.DataFrame, later: timedelta = timedelta(0)) -> None:
    """Let `charging_session` have sessions of `charging_year` in their time, moved by some."""
    rows = session_rows(sessions, later)
    first, last = rows.select(pl.min("begins"), last=pl.max("begins")).row(0)
    start, end = (datetime.combine(at.date(), time(), UTC) for at in (first, last + DAY))
    replace_hours(lake, CHARGING_SESSION, rows, start, end)


def session_rows(sessions: pl.DataFrame, later: timedelta = timedelta(0)) -> pl.DataFrame:
    """Return rows of CHARGING_SESSION; what condition does not look at is made up.

    A kWh costs 30 cents from 6 to 18 o'clock, else 20.
    """
    rows = sessions.with_columns(pl.col("begins", "ends") + later)
    lost = pl.col("matched_energy_ac_kwh") * (1 - pl.col("efficiency_percent") / 100)
    by_day = pl.col("begins").dt.hour().is_between(6, 17)
    cost = pl.col("energy_ac_kwh") * pl.when(by_day).then(0.3).otherwise(0.2)
    seconds = (pl.col("ends") - pl.col("begins")).dt.total_seconds(fractional=True)
    ids = [
        str(uuid5(NAMESPACE_OID, f"{vehicle} {begins}"))
        for vehicle, begins in rows.select("vehicle_id", "begins").iter_rows()
    ]
    made_up = rows.with_columns(
        session_id=pl.Series(ids, dtype=pl.String),
        last_energy_at="ends",
        duration_seconds=seconds,
        charging_seconds=seconds,
        loss_kwh=lost,
        status=pl.lit("good"),
        reason=pl.lit("good"),
        mean_power_dc_kw=pl.lit(None, pl.Float64),
        energy_ac_by_hour_kwh=pl.concat_list("energy_ac_kwh"),
        cost_of_energy=cost.cast(pl.Decimal(38, 17)),
        currency=pl.lit("EUR"),
        evidence=pl.lit("ac+dc+link"),
        data_points_meter=pl.lit(60, pl.Int64),
        data_points_vehicle=pl.lit(60, pl.Int64),
        longest_gap_seconds=pl.lit(60.0),
        supersedes=pl.lit([], pl.List(pl.String)),
    )
    empty = pl.DataFrame(CHARGING_SESSION.schema.empty_table()).select(CHARGING_SESSION.names)
    return pl.concat([empty, made_up], how="diagonal_relaxed").select(CHARGING_SESSION.names)
