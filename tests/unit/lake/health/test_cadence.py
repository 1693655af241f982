"""How often a device sends, by its heartbeats up to the end of an hour."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import METER, VEHICLE, EnergySettings, Stream
from lake.health.cadence import device_cadences
from tests.oracle.cadences import cadence_of
from tests.oracle.rows import micro
from tests.unit.energy_recomputation import (
    HOUR_10,
    HOUR_11,
    Row,
    charger_classes,
    readings,
    seconds,
)
from tests.unit.energy_samples import METERS, meter_rows, patiently

MINUTE = 60
CLASSES = {"slow": {"cadence_seconds": 1800}, "unsaid": {}}


def found(
    rows: Sequence[Row],
    stream: Stream = METER,
    classes: Mapping[str, str] | None = None,
    column: str = "cadence",
) -> dict[str, float | None]:
    """The seconds of each device."""
    settings = EnergySettings(_env_file=None, charger_classes=CLASSES)
    table = device_cadences(
        readings(stream, rows).collect(),
        stream,
        charger_classes(classes or {}).collect(),
        HOUR_10,
        HOUR_11,
        settings,
    )
    pairs = table.select(stream.device, column).iter_rows()
    return {device: None if us is None else us / 1e6 for device, us in pairs}


def sent(*minutes: float, device: str = "M1", kwh: float | None = 0.1, **other: Any) -> list[Row]:
    return [
        {"meter_id": device, "timestamp": seconds(MINUTE * at), "kwh_consumed_ac": kwh, **other}
        for at in minutes
    ]


def test_what_people_say_counts_before_the_class_and_what_is_learned() -> None:
    every_five = [{**row, "cadence_seconds": 600.0} for row in sent(*range(0, 60, 5))]
    assert found(every_five, classes={"M1": "slow"}) == {"M1": 600}
    assert found(sent(1, cadence_seconds=600.0)) == {"M1": 600}


@pytest.mark.parametrize("step", [1, 5, 15, 60, 240, 24 * 60])
def test_a_regular_device_has_its_own_cadence(step: float) -> None:
    rows = sent(*(50 - n * step for n in range(7)))
    assert found(rows) == {"M1": step * MINUTE}


def test_three_steps_tell_it_and_two_do_not() -> None:
    assert found(sent(0, 15, 30)) == {"M1": None}
    assert found(sent(0, 15, 30, 45)) == {"M1": 900}


def test_about_the_nominal_cadence_is_the_nominal_one() -> None:
    assert found(sent(*(n * 1.19 for n in range(20)))) == {"M1": 60}
    assert found(sent(*(n * 1.25 for n in range(20)))) == {"M1": 75}


def test_a_device_that_is_silent_in_the_hour_has_the_cadence_that_it_had() -> None:
    assert found(sent(*(-600 - n * 15 for n in range(8)))) == {"M1": 900}
    nine_days = 9 * 24 * 60
    assert found(sent(*(-nine_days - n * 15 for n in range(8)))) == {}


def test_lost_heartbeats_do_not_make_a_slow_device() -> None:
    assert found(sent(0, 5, 9, 11, 20, 26, 27, 35, 36, 40, 58)) == {"M1": None}
    lossy = [n for n in range(60) if n % 7 != 3]
    assert found(sent(*lossy)) == {"M1": 60}
    late = sent(-60, -45, -30, -15, 0, 15, 37, 39, 52)
    assert found(late) == {"M1": 900}  # as it was before the last ones


def test_the_newest_cadence_counts() -> None:
    assert found(sent(*range(30), 35, 40, 45, 50, 55)) == {"M1": 300}
    assert found(sent(0, 5, 10, 15, *range(20, 60))) == {"M1": 60}


def test_what_the_newest_heartbeat_declares_counts_before_the_class_and_that_before_steps() -> None:
    rows = sent(0, 5, 10, 15, 20, 25, 30, 35)
    assert found(rows, classes={"M1": "unsaid"}) == {"M1": 300}
    assert found(rows, classes={"M1": "slow"}) == {"M1": 1800}
    declared = [*rows[:-1], {**rows[-1], "interval_seconds": 200.5}]
    assert found(declared, classes={"M1": "slow"}) == {"M1": 200.5}
    assert found(declared, classes={"M1": "slow"}, column="own") == {"M1": 1800}
    assert found(declared, column="own") == {"M1": 300}


def test_the_interval_of_a_sample_is_no_cadence() -> None:
    assert found(sent(*range(60), interval_seconds=1)) == {"M1": 60}
    assert found(sent(50, interval_seconds=1)) == {"M1": None}
    assert found(sent(*range(0, 60, 5), interval_seconds=60)) == {"M1": 60}  # four of five lost


def test_heartbeats_without_an_energy_tell_that_a_device_is_alive() -> None:
    energies, others = sent(0, 15, 30, 45), sent(*range(5, 60, 5), kwh=None)
    assert found(energies + others) == {"M1": 300}
    assert found(sent(*(n - 0.5 for n in range(60)), kwh=None)) == {"M1": 60}
    # One right after each energy makes no fast device.
    beside = sent(0.1, 15.1, 30.1, 45.1, kwh=None)
    assert found(energies + beside) == {"M1": 900}


def test_phases_that_come_one_after_another_make_no_fast_device() -> None:
    rows = [
        row
        for place, phase in enumerate(("L1", "L2", "L3"))
        for row in sent(*(n * 15 + place / 60 for n in range(-4, 4)), phase=phase)
    ]
    assert found(rows) == {"M1": 900}


def test_a_series_that_has_ended_says_nothing() -> None:
    before = sent(*range(-120, -60), reading_type="register")
    assert found([*before, *sent(0, 15, 30, 45)]) == {"M1": 900}


def test_many_devices_are_told_apart() -> None:
    steps = {f"M{n:02}": step for n, step in enumerate((1, 5, 15, 2) * 10)}
    rows = [row for name, step in steps.items() for row in sent(*range(0, 60, step), device=name)]
    assert found(rows) == {name: step * 60 for name, step in steps.items()}


@patiently
@given(
    meter_rows(),
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([None, None, 1.0, 30.0, 900.0])), min_size=90
    ),
    st.dictionaries(st.sampled_from(METERS), st.sampled_from(["slow", "unsaid"])),
    st.booleans(),
)
def test_every_cadence_agrees_with_the_recomputation(
    rows: list[Row],
    changes: list[tuple[bool, float | None]],
    classes: dict[str, str],
    is_sorted: bool,
) -> None:
    rows = [
        {**row, "interval_seconds": declared, **({"kwh_consumed_ac": None} if is_mute else {})}
        for row, (is_mute, declared) in zip(rows, changes, strict=False)
    ]
    if is_sorted:
        rows.sort(key=lambda row: (row["meter_id"], row["timestamp"]))
    start = micro(HOUR_10)
    expected = {}
    for name in METERS:
        own = [row for row in rows if row["meter_id"] == name]
        slow = 1_800_000_000 if classes.get(name) == "slow" else None
        cadence, newest = cadence_of(own, METER, start, slow)
        if newest is not None:
            expected[name] = None if cadence is None else cadence / 1e6
    assert found(rows, classes=classes) == expected


def test_vehicles_have_no_class_and_no_phase() -> None:
    rows = [
        {"vehicle_id": "V1", "timestamp": HOUR_10 + n * timedelta(minutes=10), "soc": 50.0}
        for n in range(6)
    ]
    assert found(rows, VEHICLE, {"V1": "slow"}) == {"V1": 600}
