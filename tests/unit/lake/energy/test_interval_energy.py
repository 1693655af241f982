"""The energy of one reading, and the time that it covers."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import METER, VEHICLE, EnergySettings, Stream
from lake.energy.interval_energy import exact_mean, exact_sum, measured_energy
from lake.schema.partitions import utc_window
from tests.unit.energy_recomputation import (
    HOUR_10,
    HOUR_11,
    Row,
    readings,
    recompute_readings,
    seconds,
)
from tests.unit.energy_samples import meter_rows, patiently, with_context

SETTINGS = EnergySettings(_env_file=None)


def measured(
    *rows: Row, start: datetime = HOUR_10, end: datetime = HOUR_11, stream: Stream = METER
) -> list[dict[str, Any]]:
    own = [{stream.device: "D1", **row} for row in rows]
    return measured_energy(readings(stream, own), stream, start, end, SETTINGS).collect().to_dicts()


def register(offset: float, value: float | None) -> Row:
    return {"timestamp": seconds(offset), "kwh_consumed_ac": value, "reading_type": "register"}


def interval(offset: float, value: float | None) -> Row:
    return {"timestamp": seconds(offset), "kwh_consumed_ac": value}


def energies(*rows: Row) -> list[float | None]:
    return [row["energy_kwh"] for row in measured(*rows)]


def test_an_interval_counts_as_sent_and_a_null_is_not_a_zero() -> None:
    rows = measured(interval(60, 0.2), interval(120, None), interval(180, 0.0))
    assert [row["energy_kwh"] for row in rows] == [0.2, None, 0.0]
    assert [row["covered_from"] for row in rows] == [seconds(0), None, seconds(120)]


def test_a_window_takes_its_start_and_leaves_its_end() -> None:
    rows = measured(interval(-1, 1.0), interval(0, 2.0), interval(3599, 3.0), interval(3600, 4.0))
    assert [row["energy_kwh"] for row in rows] == [2.0, 3.0]


def test_a_register_counts_its_differences_across_the_start_of_the_window() -> None:
    assert energies(register(-60, 100.0), register(0, 100.5), register(60, 101.25)) == [0.5, 0.75]


def test_the_first_reading_of_a_register_has_no_energy() -> None:
    rows = measured(register(60, 100.0), register(120, 100.5))
    assert [row["energy_kwh"] for row in rows] == [None, 0.5]
    assert [row["covered_from"] for row in rows] == [None, seconds(60)]


def test_noise_of_a_register_nets_out() -> None:
    assert energies(register(0, 5.0), register(60, 4.85), register(120, 5.0)) == [None, -0.15, 0.15]


def test_a_register_that_restarts_counts_from_zero() -> None:
    rows = measured(register(0, 16.64), register(60, 0.0), register(120, 0.3), register(180, 0.1))
    assert [row["energy_kwh"] for row in rows] == [None, 0.0, 0.3, 0.1]
    assert [row["is_reset"] for row in rows] == [False, True, False, True]


def test_other_readings_do_not_break_the_chain_of_a_register() -> None:
    rows = measured(register(0, 5.0), register(60, None), interval(120, 0.1), register(180, 6.0))
    assert [row["energy_kwh"] for row in rows] == [None, None, 0.1, 1.0]
    assert rows[3]["interval_start"] == seconds(0)
    # The readings between two values of a register are bridged: the later brings their energy.
    assert [row["covered_from"] for row in rows] == [None, *map(seconds, (0, 60, 120))]


def test_a_reading_after_the_last_register_value_covers_nothing_yet() -> None:
    rows = measured(register(-60, 5.0), register(60, 5.1), register(120, None))
    assert [row["covered_from"] for row in rows] == [seconds(0), None]


def test_a_register_silent_for_longer_than_the_look_back_starts_anew() -> None:
    lookback = SETTINGS.register_lookback_hours * 3600
    assert energies(register(60 - lookback, 5.0), register(60, 9.0)) == [4.0]
    assert energies(register(59 - lookback, 5.0), register(60, 9.0)) == [None]


def test_a_reading_covers_the_time_since_its_predecessor_up_to_the_largest_gap() -> None:
    rows = measured(interval(30, 1.0), interval(330, 1.0), interval(1000, 1.0))
    assert [row["covered_from"] for row in rows] == [seconds(0), seconds(30), seconds(700)]
    assert [row["interval_start"] for row in rows] == [seconds(0), seconds(30), seconds(330)]
    assert [row["gap_seconds"] for row in rows] == [None, 300.0, 670.0]


def test_a_first_reading_covers_one_nominal_interval() -> None:
    (row,) = measured(interval(600, 1.0))
    assert row["covered_from"] == row["interval_start"] == seconds(540)


def test_registers_of_several_devices_do_not_mix() -> None:
    rows = [
        {"meter_id": meter, "reading_type": "register", "timestamp": seconds(at)}
        | {"kwh_consumed_ac": kwh}
        for meter, at, kwh in (("A", 0, 1.0), ("B", 30, 50.0), ("A", 60, 2.0), ("B", 90, 53.0))
    ]
    table = measured_energy(readings(METER, rows), METER, HOUR_10, HOUR_11, SETTINGS).collect()
    assert table.select("meter_id", "energy_kwh").rows() == [
        ("A", None),
        ("A", 1.0),
        ("B", None),
        ("B", 3.0),
    ]


def test_no_readings_give_no_rows_but_all_columns() -> None:
    for stream in (METER, VEHICLE):
        table = measured_energy(readings(stream, []), stream, HOUR_10, HOUR_11, SETTINGS).collect()
        assert table.is_empty()
        assert {stream.device, "energy_kwh", "covered_from", "duplicates"} <= set(table.columns)


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (HOUR_10.replace(tzinfo=None), HOUR_11, "needs a time zone"),
        (HOUR_11, HOUR_10, "must end after its start"),
        (HOUR_10, HOUR_10, "must end after its start"),
    ],
)
def test_a_window_that_is_none_is_refused(start: datetime, end: datetime, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measured_energy(readings(METER, []), METER, start, end, SETTINGS)


def test_a_window_over_the_end_of_summer_time_is_as_long_as_its_real_time() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    summer = datetime(2026, 10, 25, 2, 30, tzinfo=berlin)
    winter = datetime(2026, 10, 25, 2, 15, tzinfo=berlin, fold=1)  # 45 minutes later
    start, end = utc_window(summer, winter)
    assert (start, end - start) == (
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        timedelta(minutes=45),
    )
    with pytest.raises(ValueError, match="must end after its start"):
        utc_window(winter, summer)


@patiently
@given(meter_rows(), st.sampled_from([None, 10.0, 2.0]))
def test_every_reading_agrees_with_the_recomputation(rows: list[Row], size: float | None) -> None:
    limits = EnergySettings(_env_file=None, register_size_kwh=size)
    table = measured_energy(readings(METER, rows), METER, HOUR_10, HOUR_11, limits).collect()
    expected = recompute_readings(rows, METER, HOUR_10, HOUR_11, limits)
    assert table.select(
        "meter_id", "timestamp", "energy_kwh", "is_reset", "interval_start", "covered_from"
    ).rows() == [
        (r.device, r.timestamp, r.energy, r.is_reset, r.interval_start, r.covered_from)
        for r in expected
    ]


@patiently
@given(meter_rows(hours=3))
def test_the_hours_of_a_window_add_up_to_it_exactly(rows: list[Row]) -> None:
    end = HOUR_10 + timedelta(hours=3)
    whole = measured_energy(readings(METER, rows), METER, HOUR_10, end, SETTINGS).collect()
    hours = []
    for n in range(3):
        start = HOUR_10 + timedelta(hours=n)
        context = with_context(rows, METER, start, start + timedelta(hours=1), SETTINGS)
        hours.append(
            measured_energy(
                readings(METER, context), METER, start, start + timedelta(hours=1), SETTINGS
            ).collect()
        )
    of_hours = pl.concat(hours)
    total = exact_sum(pl.col("energy_kwh"))
    key = ["meter_id", "timestamp", "energy_kwh", "is_reset"]
    assert of_hours.select(key).sort("meter_id", "timestamp").equals(whole.select(key))
    sums = [hour.select(total).item() for hour in hours]
    assert round(sum(s for s in sums if s is not None), 9) == (whole.select(total).item() or 0.0)


@patiently
@given(st.lists(st.none() | st.floats(-1e5, 1e5), max_size=200), st.randoms())
def test_a_sum_does_not_depend_on_the_order(values: list[float | None], random: Any) -> None:
    def sums(ordered: list[float | None]) -> tuple[Any, ...]:
        column = pl.Series("x", ordered, dtype=pl.Float64)
        total, mean = exact_sum(pl.col("x")), exact_mean(pl.col("x")).alias("mean")
        return pl.DataFrame([column]).select(total, mean).row(0)

    shuffled = list(values)
    random.shuffle(shuffled)
    total, mean = sums(values)
    assert sums(shuffled) == (total, mean)
    known = [value for value in values if value is not None]
    assert total == (pytest.approx(sum(known), abs=1e-6) if known else None)
    assert mean == (pytest.approx(sum(known) / len(known), abs=1e-6) if known else None)
