"""Hours are computed again when what they are computed with changes, and no others are."""

import random
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import psycopg
import pytest
from psycopg.types.range import TimestamptzRange as Range

from lake import HOUR, METER, VEHICLE, compact_hours
from lake.energy import CADENCE
from lake.history import SequentialHistoryReader
from lake.rollups import HourInputs, Tables, health_of_hour, tables_of_hours
from lake.schema import HEARTBEAT_COMPLETENESS_HOURLY, contiguous_hours
from lake.settings import EnergySettings
from pipelines.automation.jobs import RANGE_END, RANGE_START
from pipelines.automation.sensors import late_hours
from pipelines.compute import stretch
from pipelines.compute.awaited import awaited_of_hour, note_context
from pipelines.compute.devices import register_devices
from pipelines.compute.hours_beside import reopen_hours_beside
from pipelines.compute.inputs import history_readers, hour_inputs
from pipelines.ledger import (
    changed_hours,
    dirty_hours,
    mark_compacted,
    mark_computed,
    mark_published,
    state_of_efficiency,
    state_of_history,
    waiting_hours,
)
from pipelines.partitions import hour_of_key
from tests.harness.pipelines import PipelineStack
from tests.samples import HOUR_10, meter_rows, vehicle_rows

MINUTE = timedelta(minutes=1)


class Computed:
    """Heartbeats of each hour as it was last computed, and the hours in the order of that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inputs: dict[datetime, pl.DataFrame] = {}
        self.vehicles: dict[datetime, pl.DataFrame] = {}
        self.hours: list[datetime] = []

        def remember(hours: list[HourInputs], settings: EnergySettings) -> list[Tables]:
            for one in hours:
                self.inputs[one.start] = one.meters.collect()
                self.vehicles[one.start] = one.vehicles.collect()
                self.hours.append(one.start)
            return tables_of_hours(hours, settings)

        monkeypatch.setattr(stretch, "tables_of_hours", remember)


def readings(*minutes: float, device: str = "METER001", kwh: float | None = 0.1) -> pl.DataFrame:
    """Heartbeats so many minutes after 10 o'clock, each received ten seconds later."""
    moments = [HOUR_10 + minute * MINUTE for minute in minutes]
    rows = [
        {
            "meter_id": device,
            "timestamp": at,
            "received_at": at + timedelta(seconds=10),
            "kwh_consumed_ac": kwh,
        }
        for at in moments
    ]
    return pl.DataFrame(meter_rows(*rows))


def deliver(stack: PipelineStack, rows: pl.DataFrame) -> None:
    stack.deliver(METER, rows.to_arrow().cast(METER.arrow_schema))


def compute_what_waits(stack: PipelineStack) -> None:
    for request in stack.evaluate_sensor(late_hours).run_requests or []:
        hours = (hour_of_key(request.tags[tag]) for tag in (RANGE_START, RANGE_END))
        stack.run_hours(*hours)


@pytest.mark.parametrize(
    ("late", "changed"),
    [
        (90.5, [1]),  # in the midst of an hour
        (63.5, [0, 1]),  # among the first readings of an hour
        (115.5, [1, 2]),  # among the last
        (239.5, [3, 66]),  # the last before a silence
        (66 * 60 + 3.5, [66]),  # among the first after it
    ],
)
def test_a_late_heartbeat_has_its_hour_computed_and_those_whose_context_it_is_in(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch, late: float, changed: list[int]
) -> None:
    computed = Computed(monkeypatch)
    silence = 62 * 60
    deliver(stack, readings(*range(240), *range(240 + silence, 360 + silence)))
    compute_what_waits(stack)
    computed.hours.clear()

    deliver(stack, readings(late))
    compute_what_waits(stack)

    assert sorted(computed.hours) == [HOUR_10 + n * HOUR for n in changed]
    assert stack.evaluate_sensor(late_hours).run_requests == []


def test_the_hour_after_a_silent_weekend_has_the_last_value_before_it(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = Computed(monkeypatch)
    monday = 62 * 60 + 60
    deliver(stack, readings(*range(0, 60, 5), *range(monday, monday + 60, 5)))
    compute_what_waits(stack)
    before = computed.inputs[HOUR_10 + 63 * HOUR].filter(pl.col("timestamp") < HOUR_10 + 63 * HOUR)
    assert before["timestamp"].to_list() == [HOUR_10 + n * 5 * MINUTE for n in range(12)]
    computed.hours.clear()

    deliver(stack, readings(57.5))
    compute_what_waits(stack)

    assert HOUR_10 + 63 * HOUR in computed.hours
    before = computed.inputs[HOUR_10 + 63 * HOUR].filter(pl.col("timestamp") < HOUR_10 + 63 * HOUR)
    assert before["timestamp"].to_list()[-1] == HOUR_10 + 57.5 * MINUTE


@pytest.mark.parametrize("seed", range(4))
def test_whatever_order_heartbeats_come_in_each_hour_is_computed_with_what_is_beside_it(
    stack: PipelineStack, seed: int
) -> None:
    chance, computed = random.Random(seed), dict[datetime, HourInputs]()
    rows = pl.concat(
        [
            readings(*(n * 1.0 for n in range(0, 480, 2)), device="FAST"),
            readings(*(7 + n * 15.0 for n in range(32)), device="QUARTERS"),
            readings(3, 200, 410, device="SLOW"),
            readings(*(n * 5.0 for n in range(30)), 55 * 60.0, device="SILENT"),
            readings(*(n * 10.0 for n in range(48)), device="MUTE", kwh=None),
            readings(*(n * 20.0 + n**2 % 7 for n in range(9)), device="STOPPED"),
        ]
    ).sample(fraction=1, shuffle=True, seed=seed)
    while rows.height:
        count = chance.choice([5, 40, 150])
        deliver(stack, rows.head(count))
        rows = rows.slice(count)
        if chance.random() < 0.7:
            compute_at_once(stack, computed)
    compute_at_once(stack, computed)

    settings = EnergySettings(_env_file=None)
    history = SequentialHistoryReader(stack.lake, METER, settings)
    for hour in sorted(computed):
        now = history.read(hour, hour + HOUR)
        assert beside(computed[hour].meters.collect(), hour).equals(beside(now, hour)), hour
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        for hour, then in computed.items():
            alone = history_readers(stack.lake, connection, settings, hour + HOUR)
            fresh = hour_inputs(alone, connection, hour, settings)
            assert completeness(then, settings) == completeness(fresh, settings), hour


def test_a_late_heartbeat_changes_hours_that_divide_a_slow_reading_by_it(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A meter's hours end five past; the hour after has the vehicle's minutes since then."""
    computed = Computed(monkeypatch)
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO charging_link (meter_id, vehicle_id, valid) VALUES (%s, %s, %s)",
            ["SLOW", "V1", Range(HOUR_10, None)],
        )
    deliver(stack, readings(*(5 + n * 60.0 for n in range(10)), device="SLOW", kwh=6.0))
    deliver_minutes(stack, *range(570))
    compute_what_waits(stack)
    computed.hours.clear()

    deliver_minutes(stack, 4 * 60 + 30.5)
    compute_what_waits(stack)

    assert sorted(computed.hours) == [HOUR_10 + n * HOUR for n in (4, 5)]
    assert stack.evaluate_sensor(late_hours).run_requests == []
    settings = EnergySettings(_env_file=None)
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        readers = history_readers(stack.lake, connection, settings, HOUR_10 + 10 * HOUR)
        for hour, vehicles in sorted(computed.vehicles.items()):
            now = hour_inputs(readers, connection, hour, settings).vehicles.collect()
            assert vehicles.equals(now), hour


@pytest.mark.parametrize(("rise", "changed"), [(20.0, [0, 1]), (0.3, [1])])
def test_a_register_that_was_frozen_changes_the_hour_before_when_it_rises(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch, rise: float, changed: list[int]
) -> None:
    """From 10:40 to 11:30 it stands; 20 kWh are too much for a minute and not for that time."""
    computed = Computed(monkeypatch)
    registers = readings(*range(130)).with_columns(
        kwh_consumed_ac=pl.Series([99.0] * 40 + [100.0] * 50 + [100.0 + rise] * 40),
        reading_type=pl.lit("register"),
    )
    deliver(stack, registers.head(85))
    compute_what_waits(stack)
    computed.hours.clear()

    deliver(stack, registers.slice(85, 35))
    compute_what_waits(stack)

    assert sorted(computed.hours) == [HOUR_10 + n * HOUR for n in changed]
    deliver(stack, registers.tail(10))
    compute_what_waits(stack)
    assert stack.evaluate_sensor(late_hours).run_requests == []
    rows = stack.table("charger_efficiency_hourly").sort("hour_start")
    first = 1 + (rise * 20 / 50 if rise > 1 else 0)
    assert rows["energy_ac_kwh"].to_list() == pytest.approx([first, 1 + rise - first, 0])


def deliver_minutes(stack: PipelineStack, *minutes: float) -> None:
    """Deliver heartbeats of the vehicle V1."""
    times = readings(*minutes)["timestamp"]
    usual = {"vehicle_id": "V1", "kwh_delivered_dc": 0.09, "meter_id": None}
    stack.deliver(VEHICLE, vehicle_rows(*({**usual, "timestamp": at} for at in times)))


def completeness(inputs: HourInputs, settings: EnergySettings) -> list[dict[str, Any]]:
    """The rows of an hour."""
    return health_of_hour(inputs, settings)[HEARTBEAT_COMPLETENESS_HOURLY.name].to_dicts()


def compute_at_once(stack: PipelineStack, computed: dict[datetime, HourInputs]) -> None:
    """Take the steps of the hourly job over what waits, without Dagster and the tables."""
    end, settings = HOUR_10 + timedelta(days=9), EnergySettings(_env_file=None)
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        while waiting := {one.hour for one in waiting_hours(connection, HOUR_10, end)}:
            hours = contiguous_hours(waiting, 720)[-1]
            dirty = dirty_hours(connection, METER)
            done = compact_hours(stack.lake, METER, hours)
            register_devices(connection, stack.lake, METER, hours)
            reopen_hours_beside(stack.lake, connection, METER, done, dirty, settings)
            for compaction in done:
                mark_compacted(connection, compaction)
            every = sorted({*hours, *changed_hours(connection, hours)})
            states = state_of_history(connection, every)
            readers = history_readers(stack.lake, connection, settings, every[-1] + HOUR)
            inputs = [hour_inputs(readers, connection, hour, settings) for hour in every]
            computed.update({one.start: one for one in inputs})
            awaited = [awaited_of_hour(one) for one in inputs]
            note_context(connection, every, awaited, [one.lacking for one in inputs])
            mark_computed(connection, states)
            mark_published(connection, state_of_efficiency(connection, every))


def beside(rows: pl.DataFrame, hour: datetime) -> pl.DataFrame:
    """What an hour is computed with of the devices that have an energy in or after it."""
    timestamp, series = pl.col("timestamp"), list(METER.series)
    known = rows.filter(pl.col("kwh_consumed_ac").is_not_null()).sort(*series, "timestamp")
    active = known.filter(timestamp >= hour).select(METER.device).unique()
    return known.join(active, on=METER.device, how="semi", maintain_order="left").drop(
        "duplicates", CADENCE, strict=False
    )
