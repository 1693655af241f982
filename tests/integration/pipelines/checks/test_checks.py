"""Checks that fail: each says which devices and hours, and blocks only what must not go on."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import HOUR, METER, VEHICLE, Lake, Stream, compact_hours, hour_of
from lake.delta.replace import replace_window
from lake.schema.history import history_table
from pipelines.assets import history
from pipelines.assets.history import scan_history_files
from pipelines.automation.watch import overdue_hours
from pipelines.checks.rules import (
    lost_heartbeats,
    miscounted_hours,
    uncovered_vehicles,
    unsorted_rows,
)
from pipelines.ledger import WaitingHour
from tests.harness.pipelines import PipelineStack, checks, minutes_of
from tests.samples import HOUR_10, meter_rows, vehicle_rows

NOW = datetime(2026, 11, 22, 0, 30, tzinfo=UTC)


def failed(result: dg.ExecuteInProcessResult, check: str) -> dg.AssetCheckEvaluation:
    """The one evaluation of a check, which did not pass."""
    (found,) = [
        c for c in result.get_asset_check_evaluations() if c.check_name == check and not c.passed
    ]
    return found


def first_ones(evaluation: dg.AssetCheckEvaluation) -> str:
    return str(evaluation.metadata["first_ones"].value)


def test_an_unsorted_file_is_named_with_its_rows_and_stops_nothing(
    charged: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scrambling(lake: Lake, stream: Stream, hours: Sequence[datetime]) -> object:
        (hour,), done = hours, compact_hours(lake, stream, hours)
        if stream is METER:
            rows = lake.scan(lake.open(stream.history_table)).drop("date").collect()
            first, rest = rows.filter(meter_id="METER001"), rows.filter(meter_id="METER002")
            scrambled = pl.concat([rest, first])
            table, spec = lake.open(stream.history_table), history_table(stream)
            replace_window(lake, table, spec, scrambled, hour, hour + HOUR)
        return done

    monkeypatch.setattr(history, "compact_hours", scrambling)
    monkeypatch.setattr(history, "lost_heartbeats", lambda *_, **__: pl.LazyFrame())
    result = charged.run_hours(HOUR_10, HOUR_10)

    assert result.success
    assert "| METER001 | 2026-11-20 10:00:05Z |" in first_ones(failed(result, "sorted_files"))
    assert checks(result)["vehicle_telemetry_history: sorted_files"]


def test_an_hour_without_a_file_has_no_order_to_check(charged: PipelineStack) -> None:
    compact_hours(charged.lake, METER, [HOUR_10])

    files = scan_history_files(charged.lake, METER, HOUR_10 - HOUR, HOUR_10)

    assert files.collect().is_empty()
    assert files.collect_schema().names() == ["meter_id", "timestamp", "phase", "file"]


@given(st.lists(st.tuples(*(st.integers(0, 3) for _ in range(4)))))
def test_rows_are_sorted_exactly_if_each_file_is(rows: list[tuple[int, int, int, int]]) -> None:
    rows.sort(key=lambda row: row[0])  # one file after the other
    files = {file: [key for of, *key in rows if of == file] for file, *_ in rows}
    frame = pl.DataFrame(
        [
            (
                f"lake/{file}.parquet",
                f"METER{device}",
                HOUR_10 + timedelta(minutes=minute),
                f"L{phase}" if phase else None,
            )
            for file, device, minute, phase in rows
        ],
        schema={
            "file": pl.String,
            "meter_id": pl.String,
            "timestamp": pl.Datetime("us", "UTC"),
            "phase": pl.String,
        },
        orient="row",
    )

    found = unsorted_rows(frame.lazy(), METER).collect()

    assert found.is_empty() == all(keys == sorted(keys) for keys in files.values())


def test_a_dropped_raw_partition_is_no_loss_but_a_missing_late_heartbeat_is() -> None:
    def raw(*minutes: int) -> pl.LazyFrame:
        keys = [("METER001", HOUR_10 + timedelta(minutes=minute)) for minute in minutes]
        time = pl.Datetime("us", "UTC")
        schema = {"meter_id": pl.String(), "timestamp": time}
        rows = pl.LazyFrame(keys, schema=schema, orient="row")
        return rows.with_columns(phase=pl.lit(None, pl.String))

    compacted = raw(1, 2).with_columns(duplicates=pl.Series([1, 0]))

    def lost(*minutes: int) -> list[tuple[object, ...]]:
        frame = lost_heartbeats(raw(*minutes), compacted, METER, raw_is_whole=False).collect()
        return frame.select(pl.col("timestamp").dt.minute(), "received", "accounted").rows()

    assert lost() == []
    assert lost(1) == []
    assert lost(2, 2) == [(2, 2, 1)]
    assert lost(1, 3) == [(3, 1, 0)]


def test_the_ledger_may_say_that_the_raw_rows_of_an_hour_were_dropped(
    charged: PipelineStack,
) -> None:
    charged.run_hours(HOUR_10 - HOUR, HOUR_10)
    with psycopg.connect(charged.database_url) as connection:
        connection.execute(
            b"ALTER TABLE partition_ledger ADD COLUMN IF NOT EXISTS raw_dropped_at timestamptz"
        )
        connection.execute(b"UPDATE partition_ledger SET raw_dropped_at = now()")
    charged.lake.open(METER.raw_table).delete("hour = 10")
    late = minutes_of(HOUR_10, meter_id="METER001", kwh_consumed_ac=0.2)[:1]
    charged.deliver(METER, meter_rows(*late))

    result = charged.run_hours(HOUR_10, HOUR_10)

    assert checks(result)["meter_telemetry_history: rows_conserved"]
    assert checks(charged.run("watch", {}))["raw_meter_heartbeats: ledger_agrees_with_log"]


def test_an_outage_is_named_and_a_few_silent_vehicles_are_not(stack: PipelineStack) -> None:
    for number in range(1, 5):
        minutes = slice(0, 60 if number == 1 else 20)
        box, car = f"METER00{number}", f"VEH00{number}"
        meters = minutes_of(HOUR_10, meter_id=box, kwh_consumed_ac=0.1)
        vehicles = minutes_of(HOUR_10, vehicle_id=car, kwh_delivered_dc=0.09)
        stack.deliver(METER, meter_rows(*meters))
        stack.deliver(VEHICLE, vehicle_rows(*vehicles[minutes]))

    evaluation = failed(stack.run_hours(HOUR_10, HOUR_10), "hours_covered")

    assert evaluation.severity == dg.AssetCheckSeverity.WARN
    assert evaluation.metadata["count"].value == 3
    assert "| 2026-11-20 10:00:00Z | VEH002 |" in first_ones(evaluation)
    vehicles_of_hour = stack.table("vehicle_efficiency_hourly").lazy()
    assert uncovered_vehicles(vehicles_of_hour, 75).collect().is_empty()
    assert uncovered_vehicles(vehicles_of_hour, 74).collect().height == 3


def test_a_vehicle_that_gains_energy_is_named_where_too_little_is_known_to_rate_it(
    stack: PipelineStack,
) -> None:
    stack.deliver(METER, meter_rows(*minutes_of(HOUR_10, kwh_consumed_ac=0.1)[:20]))
    stack.deliver(
        VEHICLE,
        vehicle_rows(
            *minutes_of(HOUR_10, kwh_delivered_dc=0.13),
            # More than its meter told as well, but for the time in which that was silent.
            *minutes_of(HOUR_10, vehicle_id="VEH002", kwh_delivered_dc=0.09),
        ),
    )
    stack.deliver(
        METER, meter_rows(*minutes_of(HOUR_10, meter_id="METER002", kwh_consumed_ac=0.1)[:20])
    )

    result = stack.run_hours(HOUR_10, HOUR_10)

    named = first_ones(failed(result, "dc_not_above_ac"))
    assert "insufficient_data | unmatched_dc" in named
    assert "VEH002" not in named
    assert checks(result)["vehicle_efficiency_hourly: efficiency_plausible"]


def test_an_hour_that_the_ledger_counts_wrongly_or_does_not_know_is_named(
    charged: PipelineStack,
) -> None:
    assert all(passed for name, passed in checks(charged.run("watch", {})).items() if "log" in name)
    charged.rows(
        b"DELETE FROM partition_ledger WHERE stream = 'meter' AND hour = %(hour)s RETURNING 1",
        hour=HOUR_10,
    )
    charged.rows(
        b"UPDATE partition_ledger SET raw_rows = 5 WHERE stream = 'meter' AND hour = %(hour)s"
        b" RETURNING 1",
        hour=HOUR_10 + HOUR,
    )

    evaluation = failed(charged.run("watch", {}), "ledger_agrees_with_log")

    assert evaluation.asset_key == dg.AssetKey(METER.raw_table)
    assert "| 2026-11-20 10:00:00Z | 0 | 180 |" in first_ones(evaluation)
    assert "| 2026-11-20 11:00:00Z | 5 | 180 |" in first_ones(evaluation)


def test_heartbeats_that_the_ledger_is_about_to_count_are_not_miscounted(
    charged: PipelineStack,
) -> None:
    before = charged.rows(b"SELECT * FROM partition_ledger WHERE stream = 'meter'")
    charged.deliver(METER, meter_rows({"timestamp": HOUR_10}))
    for row in before:  # as between the commit to the lake and the one to the ledger
        charged.rows(
            b"UPDATE partition_ledger SET raw_rows = %(raw_rows)s, raw_version = %(raw_version)s"
            b" WHERE stream = 'meter' AND hour = %(hour)s RETURNING 1",
            **row,
        )

    assert checks(charged.run("watch", {}))["raw_meter_heartbeats: ledger_agrees_with_log"]


def test_an_hour_that_nobody_computes_fails_the_watch(charged: PipelineStack) -> None:
    stray = datetime(2003, 5, 1, tzinfo=UTC)  # of a clock; nobody ever computes its hour
    charged.deliver(METER, meter_rows({"timestamp": stray}))
    evaluation = failed(charged.run("watch", {}), "computed_in_time")

    assert "vehicle heartbeats wait since" in first_ones(evaluation)
    assert "2003-05-01" not in first_ones(evaluation)


def test_hours_are_overdue_two_hours_after_they_could_be_computed() -> None:
    hour = hour_of(NOW)

    def waits(start: datetime, arrived: datetime) -> WaitingHour:
        return WaitingHour(start, "meter", 1, 1, arrived)

    def overdue(*waiting: WaitingHour, newest: datetime | None = hour - HOUR) -> list[datetime]:
        return overdue_hours(list(waiting), newest, NOW)["hour"].to_list()

    old = hour - 50 * HOUR
    assert overdue(waits(hour, NOW), waits(hour - HOUR, hour)) == []
    assert overdue(waits(old, NOW - timedelta(minutes=119))) == []
    assert overdue(waits(old, NOW - timedelta(minutes=121))) == [old]
    assert overdue(waits(old, NOW + timedelta(days=3))) == [old]  # received by a clock ahead
    assert overdue(newest=None) == []
    assert overdue(newest=hour - 2 * HOUR) == []
    assert overdue(newest=hour - 3 * HOUR) == [hour - 3 * HOUR]


def test_hours_are_miscounted_unless_their_raw_rows_were_dropped() -> None:
    ledger, log = {HOUR_10: 5, HOUR_10 + HOUR: 3}, {HOUR_10: 2, HOUR_10 + HOUR: 4}

    hours = miscounted_hours(ledger, log, dropped=list(ledger))["hour"].to_list()

    assert hours == [HOUR_10 + HOUR]
    assert miscounted_hours(ledger, log).height == 2


def test_a_bad_hour_is_listed_until_it_is_good_whatever_is_computed_in_between(
    stack: PipelineStack,
) -> None:
    hours = [HOUR_10 + n * HOUR for n in range(3)]
    for hour, energy in zip(hours, (0.45, 0.09, 0.09), strict=True):
        stack.deliver(METER, meter_rows(*minutes_of(hour, kwh_consumed_ac=0.1)))
        stack.deliver(VEHICLE, vehicle_rows(*minutes_of(hour, kwh_delivered_dc=energy)))
    for hour in hours:
        evaluation = failed(stack.run_hours(hour, hour), "efficiency_plausible")
    assert evaluation.metadata["count"].value == 0
    assert evaluation.metadata["bad_hours"].value == 1
    assert "| 2026-11-20 10:00:00Z | 1 |" in str(evaluation.metadata["newest_bad_hours"].value)
    assert "1 other hours are still bad" in str(evaluation.description)

    corrected = minutes_of(hours[0], kwh_delivered_dc=0.09)
    for row in corrected:
        row["received_at"] = hours[2] + HOUR
    stack.deliver(VEHICLE, vehicle_rows(*corrected))
    assert checks(stack.run_hours(hours[0], hours[0]))[
        "vehicle_efficiency_hourly: efficiency_plausible"
    ]
    assert checks(stack.run_hours(hours[2], hours[2]))[
        "vehicle_efficiency_hourly: efficiency_plausible"
    ]


def test_an_hour_that_lost_heartbeats_stays_told_and_blocks_no_other(
    charged: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def losing(lake: Lake, stream: Stream, hours: Sequence[datetime]) -> object:
        done = compact_hours(lake, stream, hours)
        if stream is METER:
            lake.open(stream.history_table).delete("meter_id = 'METER002'")
        return done

    with monkeypatch.context() as patch:
        patch.setattr(history, "compact_hours", losing)
        assert not charged.run_hours(HOUR_10, HOUR_10, raise_on_error=False).success

    other = charged.run_hours(HOUR_10 + HOUR, HOUR_10 + HOUR)
    evaluation = failed(other, "rows_conserved")
    assert evaluation.severity == dg.AssetCheckSeverity.WARN
    assert checks(other)["meter_telemetry_history: no_duplicate_key"]
    assert "2026-11-20 10:00:00Z" in str(evaluation.metadata["newest_bad_hours"].value)

    charged.run_hours(HOUR_10, HOUR_10)
    again = charged.run_hours(HOUR_10 + HOUR, HOUR_10 + HOUR)
    assert checks(again)["meter_telemetry_history: rows_conserved"]


def test_a_parked_car_that_still_names_its_charger_is_told_and_gets_no_energy_of_it(
    stack: PipelineStack,
) -> None:
    stack.deliver(METER, meter_rows(*minutes_of(HOUR_10, meter_id="M", kwh_consumed_ac=0.1)))
    for car, kwh in (("away", 0.0), ("charging", 0.09)):
        rows = minutes_of(HOUR_10, vehicle_id=car, meter_id="M", kwh_delivered_dc=kwh)
        stack.deliver(VEHICLE, vehicle_rows(*rows))

    evaluation = failed(stack.run_hours(HOUR_10, HOUR_10), "one_vehicle_at_a_meter")

    assert evaluation.severity == dg.AssetCheckSeverity.WARN
    assert "| 2026-11-20 10:00:00Z | M | away, charging |" in first_ones(evaluation)
    rows_of_hour = stack.table("vehicle_efficiency_hourly").sort("vehicle_id")
    assert rows_of_hour["meter_ids"].to_list() == [[], ["M"]]
