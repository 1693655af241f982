"""The retention of the tables in Postgres: what goes by night, and what stays gone."""

from datetime import UTC, datetime, timedelta

import pytest

from lake import HOUR, METER, VEHICLE, hour_of
from lake.schema.vehicle_efficiency import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY
from pipelines.maintenance import mart_retention
from pipelines.verify.__main__ import main as verify
from tests.harness.pipelines import PipelineStack, checks, minutes_of, run_maintenance
from tests.samples import meter_rows, vehicle_rows

MARTS = (VEHICLE_EFFICIENCY_HOURLY.name, FLEET_EFFICIENCY_HOURLY.name)
STEP = "retention.marts_retention"


def test_hours_past_their_retention_leave_postgres_and_late_heartbeats_do_not_bring_them_back(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_kept = hour_of(datetime.now(UTC)) - timedelta(days=1)
    # The younger one stays within the retention even if an hour strikes meanwhile.
    old, young = first_kept - HOUR, first_kept + HOUR
    for hour in (old, young):  # not from its first minute on, which lies in the hour before as well
        stack.deliver(METER, meter_rows(*minutes_of(hour, kwh_consumed_ac=0.1)[1:]))
        stack.deliver(VEHICLE, vehicle_rows(*minutes_of(hour, kwh_delivered_dc=0.09)[1:]))
    monkeypatch.setenv("MART_RETENTION_DAYS", "1")

    published = stack.run_hours(old, young)

    assert {old, young} <= set(stack.table(MARTS[0])["hour_start"])
    assert all(hours_of(stack, name) == {young} for name in MARTS)
    assert all(checks(published)[f"warehouse/{name}: equals_lake_table"] for name in MARTS)
    assert not stack.rows(b"SELECT hour FROM unpublished_hour")
    assert stack.run("daily", {"dagster/partition": f"{young:%Y-%m-%d}"}).success
    assert verify(["--from", f"{old:%Y-%m-%dT%H}", "--to", f"{young:%Y-%m-%dT%H}"]) == 0

    stack.rows(
        b"WITH aged AS (UPDATE vehicle_efficiency_hourly SET hour_start = %(old)s RETURNING *)"
        b" INSERT INTO vehicle_efficiency_hourly SELECT (jsonb_populate_record(NULL::"
        b'vehicle_efficiency_hourly, to_jsonb(aged) || \'{"vehicle_id": "VEH002"}\')).*'
        b" FROM aged RETURNING 1",
        old=old,
    )
    stack.rows(
        b"INSERT INTO fleet_efficiency_daily SELECT (jsonb_populate_record(NULL::"
        b"fleet_efficiency_daily, to_jsonb(day) || jsonb_build_object('date', %(day)s::date))).*"
        b" FROM fleet_efficiency_daily AS day RETURNING 1",
        day=first_kept.date() - timedelta(days=1),
    )
    monkeypatch.setattr(mart_retention, "_ROWS_A_STATEMENT", 1)
    freed = run_maintenance(stack, STEP)[STEP]
    assert freed["rows_freed_vehicle_efficiency_hourly"] == 2
    assert freed["rows_freed_fleet_efficiency_hourly"] == 0
    assert freed["rows_freed_fleet_efficiency_daily"] == 1
    days = stack.rows(b"SELECT date FROM fleet_efficiency_daily")
    assert [row["date"] for row in days] == [young.date()]
    assert (hours_of(stack, MARTS[0]), hours_of(stack, MARTS[1])) == (set(), {young})


def hours_of(stack: PipelineStack, mart: str) -> set[datetime]:
    """The hours that a mart holds rows of."""
    return {row["hour_start"] for row in stack.rows(b"SELECT hour_start FROM " + mart.encode())}
