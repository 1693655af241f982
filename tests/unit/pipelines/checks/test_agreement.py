"""Agreement of tables: it holds of whatever devices send, and what breaks it is found."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import DAY, HOUR, METER, STREAMS, VEHICLE, EnergySettings
from lake.rollups import Tables, tables_of_hours
from lake.rollups.day import DayInputs, efficiency_of_day
from lake.rollups.hour import HourInputs
from lake.schema.battery_health import BATTERY_HEALTH_DAILY
from lake.schema.catalog import DERIVED_TABLES
from lake.schema.completeness import HEARTBEAT_COMPLETENESS_HOURLY
from lake.schema.device_condition import DEVICE_ANOMALY, EFFICIENCY_TREND
from lake.schema.grid_health import GRID_HEALTH_HOURLY
from lake.schema.vehicle_efficiency import (
    FLEET_EFFICIENCY_HOURLY,
    VEHICLE_EFFICIENCY_DAILY,
    VEHICLE_EFFICIENCY_HOURLY,
)
from pipelines.assets import daily
from pipelines.assets.condition import HAS_A_REASON, LOSSES_ADD_UP
from pipelines.assets.marts import MARTS
from pipelines.assets.metadata import EQUAL
from pipelines.assets.sessions import ADDS_UP as SESSIONS_ADD_UP
from pipelines.checks.hours import (
    ADDS_UP,
    HEARD,
    LIKE_CHARGERS,
    LIKE_DEVICES,
    LIKE_FLEET,
    LIKE_VEHICLES,
    offenders_of_hours,
)
from pipelines.definitions import definitions
from tests.unit.energy_recomputation import HOUR_10, charger_classes, links, readings
from tests.unit.energy_samples import patiently
from tests.unit.lake.rollups.test_hour_batch import an_hour, moved

SETTINGS = EnergySettings(_env_file=None)
AGREEMENT = {
    ADDS_UP,
    LIKE_CHARGERS,
    LIKE_FLEET,
    LIKE_VEHICLES,
    LIKE_DEVICES,
    HEARD,
}
UNCOVERED = 5.0
MIDNIGHT = HOUR_10.replace(hour=0)


@dataclass(frozen=True)
class NoReadings:
    """The window of a day; its tables of efficiency are made of hours alone."""

    start: datetime = MIDNIGHT
    end: datetime = MIDNIGHT + DAY
    lost: frozenset[datetime] = frozenset()

    def scan(self) -> pl.LazyFrame:
        raise AssertionError


@patiently
@given(st.lists(an_hour(), min_size=1, max_size=3))
def test_tables_of_hours_and_of_their_day_agree_whatever_is_sent(
    hours: Sequence[HourInputs],
) -> None:
    found = tables_of_hours([moved(one, n * HOUR) for n, one in enumerate(hours)], SETTINGS)
    together = {name: pl.concat([of_hour[name] for of_hour in found]) for name in found[0]}
    offenders = offenders_of_hours(together, UNCOVERED)
    assert not {name: offenders[name] for name in AGREEMENT if offenders[name].height}

    day = day_of(together)
    assert not {key: rows for key, rows in daily._offenders(day, together).items() if rows.height}


def day_of(hours: Tables) -> Tables:
    """The tables of the day of these hours; of batteries their energy alone."""
    day = efficiency_of_day(DayInputs(NoReadings(), hours), SETTINGS)
    energies = day[VEHICLE_EFFICIENCY_DAILY.name].select("date", "vehicle_id", "energy_dc_kwh")
    return {**day, BATTERY_HEALTH_DAILY.name: energies}


WRONG = {
    LIKE_CHARGERS: (VEHICLE_EFFICIENCY_HOURLY, "energy_ac_kwh"),
    LIKE_FLEET: (FLEET_EFFICIENCY_HOURLY, "unlinked_energy_ac_kwh"),
    LIKE_VEHICLES: (FLEET_EFFICIENCY_HOURLY, "energy_dc_kwh"),
    LIKE_DEVICES: (HEARTBEAT_COMPLETENESS_HOURLY, "heartbeats_received"),
    HEARD: (GRID_HEALTH_HOURLY, "readings"),
}


@pytest.fixture(scope="module")
def charged() -> Tables:
    """An hour in which a vehicle charges and its meter sends voltages."""
    minutes = [HOUR_10 + timedelta(minutes=minute) for minute in range(61)]
    meters = [
        {"meter_id": "M1", "timestamp": at, "kwh_consumed_ac": 0.1, "voltage": 230.0}
        for at in minutes
    ]
    vehicles = [{"vehicle_id": "V1", "timestamp": at, "kwh_delivered_dc": 0.09} for at in minutes]
    hour = HourInputs(
        start=HOUR_10,
        meters=readings(METER, meters),
        vehicles=readings(VEHICLE, vehicles),
        links=links([("M1", "V1", HOUR_10 - DAY, HOUR_10 + DAY, "link")]),
        charger_classes=charger_classes({}),
        expected={
            METER.name: pl.LazyFrame({"meter_id": ["M1"]}),
            VEHICLE.name: pl.LazyFrame({"vehicle_id": ["V1"]}),
        },
    )
    (tables,) = tables_of_hours([hour], SETTINGS)
    return tables


@pytest.mark.parametrize("check", WRONG)
def test_an_hour_that_disagrees_is_named(charged: Tables, check: str) -> None:
    table, column = WRONG[check]
    wrong = charged[table.name].with_columns(pl.col(column) + 1)
    (found,) = offenders_of_hours({**charged, table.name: wrong}, UNCOVERED)[check][
        "hour_start"
    ].unique()
    assert found == HOUR_10
    assert offenders_of_hours(charged, UNCOVERED)[check].is_empty()


@pytest.mark.parametrize("check", daily._CHECKS, ids=lambda key: key.to_user_string())
def test_a_day_that_disagrees_is_named(charged: Tables, check: dg.AssetKey) -> None:
    day, name = day_of(charged), check.to_user_string()
    wrong = day[name].with_columns(pl.col("energy_dc_kwh") + 1e-9)
    found = daily._offenders({**day, name: wrong}, charged)[check]
    assert found["hour_start"].to_list() == [MIDNIGHT]


def test_every_table_has_a_check_that_it_agrees_with_another_or_one_that_blocks() -> None:
    graph = definitions.resolve_asset_graph()
    agreeing = {
        key.asset_key.to_user_string()
        for key in graph.asset_check_keys
        if graph.get(key).blocking
        or key.name in {*AGREEMENT, SESSIONS_ADD_UP, EQUAL, LOSSES_ADD_UP, HAS_A_REASON}
        or key.name.startswith("agrees_with_")
    }
    histories = {stream.history_table for stream in STREAMS.values()}
    copies = {"warehouse/charging_session", "warehouse/maintenance_visit"}
    copies |= {mart.asset_key.to_user_string() for mart in MARTS}
    # Estimates, of which each night's run computes the others anew.
    estimates = {EFFICIENCY_TREND.name, DEVICE_ANOMALY.name}
    tables = {spec.name for spec in DERIVED_TABLES} - estimates
    assert agreeing == {*histories, *tables, *copies}
