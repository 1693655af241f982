"""Fixtures of the tests that run pipelines."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lake import HOUR, METER, VEHICLE, Lake
from tests.harness.pipelines import (
    PipelineStack,
    StackTemplate,
    copied_stack,
    minutes_of,
    pipeline_stack,
    prepared_template,
)
from tests.samples import HOUR_10, meter_rows, vehicle_rows


@pytest.fixture
def stack(
    lake: Lake, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PipelineStack]:
    """Empty stack."""
    with pipeline_stack(lake, database_url, monkeypatch) as stack:
        yield stack


@pytest.fixture(scope="session")
def charged_template(
    postgres: str,
    migrated_template: str,
    empty_lake: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[StackTemplate]:
    """Three hours of a healthy car, a failing charger and a car that seems to gain energy."""
    empty = StackTemplate(postgres, migrated_template, empty_lake)
    with prepared_template(empty, tmp_path_factory.mktemp("charged") / "lake", charge) as made:
        yield made


@pytest.fixture(scope="session")
def computed_template(
    charged_template: StackTemplate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StackTemplate]:
    """The same, computed with their day."""
    with prepared_template(
        charged_template, tmp_path_factory.mktemp("computed") / "lake", compute
    ) as made:
        yield made


@pytest.fixture
def charged(charged_template: StackTemplate, tmp_path: Path) -> Iterator[PipelineStack]:
    """Stack of this test alone, like the template."""
    with copied_stack(charged_template, tmp_path / "lake") as stack:
        yield stack


def charge(stack: PipelineStack) -> None:
    hours = (HOUR_10 - HOUR, HOUR_10, HOUR_10 + HOUR)
    meters = [(name, 0.1) for name in ("METER001", "METER002", "METER003")]
    vehicles = [("VEH001", 0.092, 21.0), ("VEH002", 0.07, 35.0), ("VEH003", 0.13, 30.0)]
    stack.deliver(
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
    stack.deliver(
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


def compute(stack: PipelineStack) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # Of the test that asks first.
        patch.delenv("TARIFF_FILE", raising=False)
        # A file an hour in the history, as of a fleet with many heartbeats.
        patch.setattr("lake.history.compaction._ROWS_TOGETHER", 0)
        stack.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)
        stack.run("daily", {"dagster/partition": f"{HOUR_10:%Y-%m-%d}"})
