"""Fixtures of the tests that run pipelines."""

from collections.abc import Iterator

import dagster as dg
import pytest

from lake import HOUR, METER, VEHICLE, Lake
from tests.integration.pipeline_house import House, minutes_of
from tests.samples import HOUR_10, meter_rows, vehicle_rows


@pytest.fixture
def house(lake: Lake, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """An empty house."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("LAKE_URI", lake.uri)
    # The hours of the samples lie in 2026 for ever.
    monkeypatch.setenv("MART_RETENTION_DAYS", "36500")
    with dg.DagsterInstance.ephemeral() as instance:
        yield House(lake, database_url, instance)


@pytest.fixture
def charged(house: House) -> House:
    """Three hours of a healthy car, a failing charger and a car that seems to gain energy."""
    for hour in (HOUR_10 - HOUR, HOUR_10, HOUR_10 + HOUR):
        house.deliver(
            METER,
            meter_rows(
                *minutes_of(hour, meter_id="METER001", kwh_consumed_ac=0.1),
                *minutes_of(hour, meter_id="METER002", kwh_consumed_ac=0.1),
                *minutes_of(hour, meter_id="METER003", kwh_consumed_ac=0.1),
            ),
        )
        house.deliver(
            VEHICLE,
            vehicle_rows(
                *minutes_of(hour, vehicle_id="VEH001", kwh_delivered_dc=0.092, battery_temp=21.0),
                *minutes_of(hour, vehicle_id="VEH002", kwh_delivered_dc=0.07, battery_temp=35.0),
                *minutes_of(hour, vehicle_id="VEH003", kwh_delivered_dc=0.13, battery_temp=30.0),
            ),
        )
    return house
