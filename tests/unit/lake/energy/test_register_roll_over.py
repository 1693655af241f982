"""A register of a configured size that goes on from zero at its end."""

import itertools
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import METER, VEHICLE, EnergySettings
from lake.energy.interval_energy import exact_sum, measured_energy
from lake.settings import ChargerClass
from tests.unit.energy_recomputation import HOUR_10, HOUR_11, Row, readings, seconds
from tests.unit.energy_samples import patiently, with_context

SIZE = 8388.608  # 2^23 Wh
SETTINGS = EnergySettings(_env_file=None, register_size_kwh=SIZE)


def register(offset: float, value: float | None) -> Row:
    row = {"meter_id": "M1", "timestamp": seconds(offset), "kwh_consumed_ac": value}
    return {**row, "reading_type": "register", "duplicates": 0}


def measured(*values: float, settings: EnergySettings = SETTINGS) -> list[dict[str, Any]]:
    """Return the energies of a register's values, one a minute, but for the first."""
    rows = [register(60 * n, value) for n, value in enumerate(values)]
    table = measured_energy(readings(METER, rows), METER, HOUR_10, HOUR_11, settings)
    return table.collect().to_dicts()[1:]


def energies(*values: float, settings: EnergySettings = SETTINGS) -> list[float]:
    return [row["energy_kwh"] for row in measured(*values, settings=settings)]


def test_a_register_that_rolls_over_has_not_been_reset() -> None:
    rows = measured(SIZE - 0.5, 0.25, 0.5)
    assert [row["energy_kwh"] for row in rows] == [0.75, 0.25]
    assert not any(row["is_reset"] for row in rows)


def test_noise_that_steps_back_over_the_end_nets_out() -> None:
    assert energies(SIZE - 0.05, 0.05, SIZE - 0.05, 0.05) == [0.1, -0.1, 0.1]


@pytest.mark.parametrize(
    ("last", "value", "energy", "is_reset"),
    [
        (SIZE * 15 / 16, 0.0, SIZE / 16, False),
        (SIZE * 15 / 16, 0.001, 0.001, True),  # more than a sixteenth: it restarted
        (5000.0, 0.0, 0.0, True),
        (SIZE + 1, 0.5, 0.5, True),  # no register of this size
        (SIZE - 1, -0.1, -0.1, True),
        (0.0, 8000.0, 8000.0, False),  # a step up is what it is
    ],
)
def test_only_a_drop_from_near_the_end_to_near_the_start_is_a_roll_over(
    last: float, value: float, energy: float, is_reset: bool
) -> None:
    (row,) = measured(last, value)
    assert (row["energy_kwh"], row["is_reset"]) == (pytest.approx(energy), is_reset)


def test_without_a_size_no_register_rolls_over() -> None:
    (row,) = measured(SIZE - 0.5, 0.25, settings=EnergySettings(_env_file=None))
    assert (row["energy_kwh"], row["is_reset"]) == (0.25, True)


def test_a_charger_class_has_registers_of_its_own_size() -> None:
    settings = EnergySettings(
        _env_file=None,
        register_size_kwh=SIZE,
        charger_classes={"depot": ChargerClass(register_size_kwh=1000), "home": ChargerClass()},
    )
    classes = pl.LazyFrame(
        {"meter_id": ["M1", "M2", "M4"], "charger_class": ["depot", "home", "unknown"]}
    )
    rows = [
        {**register(60 * n, value), "meter_id": meter}
        for meter, values in (
            ("M1", (999.0, 1.0)),
            ("M2", (999.0, 1.0)),
            ("M3", (SIZE - 1, 1.0)),
            ("M4", (SIZE - 1, 1.0)),
        )
        for n, value in enumerate(values)
    ]
    table = measured_energy(readings(METER, rows), METER, HOUR_10, HOUR_11, settings, classes)
    known = table.filter(pl.col("energy_kwh").is_not_null()).collect()
    assert known["energy_kwh"].to_list() == [2.0, 1.0, 2.0, 2.0]
    assert known["is_reset"].to_list() == [False, True, False, False]


def test_the_register_of_a_vehicle_rolls_over_too() -> None:
    rows = [
        {"vehicle_id": "V1", "timestamp": seconds(at), "kwh_delivered_dc": value}
        | {"reading_type": "register"}
        for at, value in ((0, SIZE - 1), (60, 1.0))
    ]
    table = measured_energy(readings(VEHICLE, rows), VEHICLE, HOUR_10, HOUR_11, SETTINGS)
    assert table.collect()["energy_kwh"].to_list() == [None, 2.0]


@st.composite
def _growing_register(draw: st.DrawFn) -> tuple[list[Row], float]:
    """Readings over three hours of a register that rolls over somewhere, and its true energy.

    Whatever the cadence and the gaps; noise may step back, also over the end of the register.
    """
    offsets = sorted(draw(st.sets(st.integers(-600, 3 * 3600 - 1), min_size=2, max_size=30)))
    size = round(SIZE * 1000)
    at_end = draw(st.integers(0, len(offsets) - 1))
    steps = [draw(st.sampled_from([0, 1, 120, 2000, 25_000, -100, -150])) for _ in offsets]
    # The position of the roll-over: before the reading `at_end`, after that, or in a step.
    count = size + draw(st.integers(-30_000, 30_000)) - sum(steps[:at_end])
    rows, counts = [], []
    for offset, step in zip(offsets, steps, strict=True):
        count += step
        counts.append(count)
        rows.append(register(offset, count % size / 1000))
        if draw(st.booleans()):
            rows.append(register(offset + 0.5, None))
    counted = [c for offset, c in zip(offsets, counts, strict=True) if offset >= 0]
    before = [c for offset, c in zip(offsets, counts, strict=True) if offset < 0]
    first = before[-1] if before else counted[0] if counted else 0
    return rows, (counted[-1] - first) / 1000 if counted else 0.0


@patiently
@given(_growing_register(), st.sets(st.integers(1, 3 * 60 - 1), max_size=4))
def test_any_split_of_a_roll_over_into_windows_adds_up_to_the_true_energy(
    sample: tuple[list[Row], float], cuts: set[int]
) -> None:
    rows, energy = sample
    bounds = [HOUR_10 + timedelta(minutes=minute) for minute in (0, *sorted(cuts), 180)]
    total = 0.0
    for start, end in itertools.pairwise(bounds):
        context = readings(METER, with_context(rows, METER, start, end, SETTINGS))
        window = measured_energy(context, METER, start, end, SETTINGS).collect()
        assert not window["is_reset"].any()
        total += window.select(exact_sum(pl.col("energy_kwh"))).item() or 0.0
    assert round(total, 9) == energy
