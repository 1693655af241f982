"""What the tables rest on beside heartbeats is counted each hour."""

from pathlib import Path

import dagster as dg
import psycopg
import pytest

from tests.harness.pipelines import PipelineStack


def test_the_hourly_watch_counts_links_devices_and_tariffs(
    charged: PipelineStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with psycopg.connect(charged.database_url) as connection:
        connection.execute(
            "INSERT INTO charging_link (meter_id, vehicle_id, valid) VALUES"
            " ('METER001', 'VEH001', '[2026-11-20, infinity)'),"
            " ('METER002', 'VEH001', '[2026-11-20, 2026-11-21)')"
        )
        connection.execute("INSERT INTO depot (id) VALUES ('north')")
    found = observed(charged)
    assert (found["charging_links"]["links"], found["charging_links"]["pairs_by_number"]) == (2, 1)
    assert found["device_registry"]["depots"] == 1
    assert "TARIFF_FILE is not set" in str(found["tariffs"]["tariffs"])

    file = tmp_path / "tariffs.yaml"
    file.write_text("currency: Euro")
    monkeypatch.setenv("TARIFF_FILE", str(file))
    assert "currency" in str(observed(charged)["tariffs"]["fault"])
    file.write_text(
        "{currency: EUR, time_zone: UTC, periods: [{valid_from: 2026-01-01, price_per_kwh: 0.3}]}"
    )
    assert observed(charged)["tariffs"]["tariffs"] == {"default": "EUR"}


def observed(stack: PipelineStack) -> dict[str, dict[str, object]]:
    """Run the watch; what it has noted of each asset."""
    events = stack.run("watch", {}).filter_events(
        lambda event: event.event_type == dg.DagsterEventType.ASSET_OBSERVATION
    )
    return {
        event.asset_observation_data.asset_observation.asset_key.to_user_string(): {
            name: value.value
            for name, value in event.asset_observation_data.asset_observation.metadata.items()
        }
        for event in events
    }
