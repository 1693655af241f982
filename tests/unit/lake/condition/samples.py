"""Simulated years of charging sessions for the tests of conditions."""

from datetime import datetime, timedelta
from functools import cache

import polars as pl

from tests.harness.charging_year.fleet import DAYS, YEAR_BEGINS, ChargingYear, charging_year

YEAR_ENDS = YEAR_BEGINS + timedelta(days=DAYS)
SOUND_VEHICLES = 60


@cache
def sound_year() -> ChargingYear:
    return charging_year(SOUND_VEHICLES, 7, with_faults=False)


def since(day: float) -> datetime:
    return YEAR_BEGINS + timedelta(days=day)


def at(**devices: str) -> pl.Expr:
    """Sessions of a vehicle, a meter, or both."""
    is_it = pl.lit(True)
    if "vehicle" in devices:
        is_it &= pl.col("vehicle_id") == devices["vehicle"]
    if "meter" in devices:
        is_it &= pl.col("meter_ids").list.first() == devices["meter"]
    return is_it


def worsened(sessions: pl.DataFrame, where: pl.Expr, factor: float | pl.Expr) -> pl.DataFrame:
    """The sessions, with so much of the DC energy in some of them."""
    part = pl.when(where).then(factor).otherwise(1.0)
    columns = ("energy_dc_kwh", "matched_energy_dc_kwh", "efficiency_percent")
    return sessions.with_columns(pl.col(name) * part for name in columns)


def busiest_home(sessions: pl.DataFrame) -> tuple[str, str]:
    """The meter and the vehicle of the pair with the most sessions."""
    pairs = sessions.group_by(pl.col("meter_ids").list.first(), "vehicle_id").len()
    meter, vehicle, _ = pairs.sort("len", "vehicle_id", descending=True).row(0)
    return str(meter), str(vehicle)


def busiest_depot(sessions: pl.DataFrame) -> tuple[str, str]:
    """A meter that many vehicles use, and the one that uses it most."""
    pairs = sessions.group_by(pl.col("meter_ids").list.first(), "vehicle_id").len()
    meters = pairs.group_by("meter_ids").agg(pl.len().alias("vehicles"), pl.col("len").sum())
    meter = meters.filter(pl.col("vehicles") >= 5).sort("len", "meter_ids").row(-1)[0]
    used = pairs.filter(pl.col("meter_ids") == meter).sort("len", "vehicle_id")
    return str(meter), str(used["vehicle_id"][-1])
