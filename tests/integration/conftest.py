"""Fixtures of the tests that run pipelines."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from lake import HOUR, METER, VEHICLE, Lake
from tests.integration.pipeline_house import House, Model, built_like, minutes_of, model
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


@pytest.fixture(scope="session")
def charged_model(
    postgres: str,
    migrated_template: str,
    empty_lake: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Model]:
    """Three hours of a healthy car, a failing charger and a car that seems to gain energy."""
    empty = Model(postgres, migrated_template, empty_lake)
    with model(empty, tmp_path_factory.mktemp("charged") / "lake", _charge) as made:
        yield made


@pytest.fixture(scope="session")
def computed_model(
    charged_model: Model, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Model]:
    """The same, computed with their day."""
    with model(charged_model, tmp_path_factory.mktemp("computed") / "lake", _compute) as made:
        yield made


@pytest.fixture
def charged(charged_model: Model, tmp_path: Path) -> Iterator[House]:
    """A house of this test alone, like the model."""
    with built_like(charged_model, tmp_path / "lake") as house:
        yield house


def _charge(house: House) -> None:
    hours = (HOUR_10 - HOUR, HOUR_10, HOUR_10 + HOUR)
    meters = [(name, 0.1) for name in ("METER001", "METER002", "METER003")]
    vehicles = [("VEH001", 0.092, 21.0), ("VEH002", 0.07, 35.0), ("VEH003", 0.13, 30.0)]
    house.deliver(
        METER,
        meter_rows(
            *(
                row
                for hour in hours
                for name, kwh in meters
                for row in minutes_of(hour, meter_id=name, kwh_consumed_ac=kwh)
            )
        ),
    )
    house.deliver(
        VEHICLE,
        vehicle_rows(
            *(
                row
                for hour in hours
                for name, kwh, temperature in vehicles
                for row in minutes_of(
                    hour, vehicle_id=name, kwh_delivered_dc=kwh, battery_temp=temperature
                )
            )
        ),
    )


def _compute(house: House) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # A file an hour in the history, as of a fleet with many heartbeats.
        patch.setattr("lake.history.compaction._ROWS_TOGETHER", 0)
        house.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)
    house.run("daily", {"dagster/partition": f"{HOUR_10:%Y-%m-%d}"})
