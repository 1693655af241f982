"""Measured charging sessions come out as they were published, from heartbeats alone."""

from datetime import datetime, timedelta

import polars as pl
import pytest

from lake import HOUR, hours_between
from lake.energy.efficiency import efficiency_of_window
from lake.sessions import LINKS, charging_sessions
from lake.sessions.stretches import charging_stretches
from tests.unit.energy_recomputation import charger_classes, links
from tests.unit.lake.energy.test_charging_sessions import (
    DATA,
    SESSIONS,
    SETTINGS,
    as_readings,
    assert_published,
    measured_data,
    meter_readings,
    vehicle_readings,
    whole_hours,
)

__all__ = ["measured_data"]


@pytest.mark.parametrize("vehicle", SESSIONS)
def test_each_is_one_session_of_its_published_energies_and_time(vehicle: str) -> None:
    start, end = whole_hours(vehicle)
    window = start - HOUR, end + 2 * HOUR
    meters, vehicles = meter_readings(vehicle).collect(), vehicle_readings(vehicle).collect()
    by_rule = links([(f"onboard-ac-{vehicle}", vehicle, *window, "rule")]).collect()
    sessions = sessions_of(meters, vehicles, by_rule, *window)
    (session,) = sessions.to_dicts()
    published = pl.read_parquet(DATA / "charging_sessions.parquet")
    (told,) = published.filter(vehicle_id=vehicle).to_dicts()
    assert_published(vehicle, session["energy_ac_kwh"], session["energy_dc_kwh"])
    assert abs(session["begins"] - told["start"]) < timedelta(minutes=1)
    assert abs(session["ends"] - told["end"]) < timedelta(minutes=1)
    assert session["evidence"] == "ac+dc"
    assert session["status"] == ("good" if vehicle == "tm-uses-max" else "excellent")
    assert (session["soc_from"], session["soc_to"]) == (told["soc_start"], told["soc_end"])
    assert 7 < session["mean_power_ac_kw"] <= session["peak_power_ac_kw"] < 12.5


def test_a_car_that_drives_and_brakes_does_not_charge() -> None:
    rows = pl.scan_parquet(DATA / "driving_vehicle_heartbeats.parquet")
    vehicles = (
        as_readings(rows, "interval")
        .with_columns(meter_id=pl.lit(None, pl.String), kwh_delivered_dc=pl.lit(None, pl.Float64))
        .collect()
    )
    start, end = vehicles.select(
        first=pl.col("timestamp").min().dt.truncate("1h"),
        last=pl.col("timestamp").max().dt.truncate("1h") + HOUR,
    ).row(0)
    nobody = meter_readings("none").collect()
    assert vehicles["soc"].drop_nulls().n_unique() > 100
    assert sessions_of(nobody, vehicles, links([]).collect(), start, end).is_empty()


def sessions_of(
    meters: pl.DataFrame,
    vehicles: pl.DataFrame,
    linked: pl.DataFrame,
    start: datetime,
    end: datetime,
) -> pl.DataFrame:
    classes = charger_classes({}).collect()
    stretches = []
    for hour in hours_between(start, end):
        near = pl.col("timestamp").is_between(hour - HOUR, hour + 2 * HOUR)
        found = efficiency_of_window(
            meters.filter(near), vehicles.filter(near), linked, classes, hour, hour + HOUR, SETTINGS
        )
        stretches.append(
            charging_stretches(found, vehicles.filter(near), linked, classes, SETTINGS)
        )
    none = pl.DataFrame(schema=LINKS)
    return charging_sessions(pl.concat(stretches), none, end, SETTINGS)
