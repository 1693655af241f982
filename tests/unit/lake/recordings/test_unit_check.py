"""Energies in Wh are asked about, whatever the spacing of their rows; real kWh never are."""

import re
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import EnergySettings, UnusableFile
from lake.recordings import EnergyRows, UnitCheck

AC, DC = "kwhConsumedAc", "kwhDeliveredDc"
MINUTE = 60.0
SETTINGS = EnergySettings(_env_file=None)

Row = tuple[int, float, float]
"""Device, seconds since the first row, and kWh."""


def question(
    rows: Sequence[Row],
    *,
    phases: Sequence[int] | None = None,
    declared: float = np.nan,
    parts: int = 1,
    settings: EnergySettings = SETTINGS,
    field: str = AC,
) -> str | None:
    """What is asked of a file that is read in so many parts; None: nothing."""
    check = UnitCheck(settings)
    for at in np.array_split(np.arange(len(rows)), parts):
        devices, seconds, energies = (np.array([rows[one][n] for one in at]) for n in range(3))
        part = EnergyRows(
            energies.astype(np.float64),
            devices.astype(np.int32),
            np.array([-1 if phases is None else phases[one] for one in at], np.int32),
            1_780_000_000_000_000 + (seconds * 1e6).astype(np.int64),
            np.full(len(at), declared),
        )
        check.add(field, part)
    try:
        check.require_kwh()
    except UnusableFile as error:
        return str(error)
    return None


def every(step: float, energies: Sequence[float], device: int = 0, start: float = 0) -> list[Row]:
    return [(device, start + step * n, energy) for n, energy in enumerate(energies)]


def test_watt_hours_of_a_row_a_minute_are_asked_about() -> None:
    told = question(every(MINUTE, [183.0] * 180))
    assert told is not None
    assert "179 of 179 energies in kwhConsumedAc above 500 kW, by the time since the row b" in told
    assert "are they Wh? Say --unit Wh if they are" in told
    assert question(every(MINUTE, [165.0] * 180), field=DC)
    assert question(every(MINUTE, [0.183] * 180)) is None


@pytest.mark.parametrize("step", [1, 5, 10, 60, 300, 900, 1_800, 3_600])
@pytest.mark.parametrize("kilowatts", [1.4, 3.7, 11, 50, 350])
def test_power_tells_at_any_spacing(step: float, kilowatts: float) -> None:
    energies = [kilowatts * step / 3_600] * 50
    assert question(every(step, energies)) is None
    assert question(every(step, [1_000 * energy for energy in energies]))


@given(
    st.lists(st.integers(0, 350), min_size=20, max_size=60),
    st.sampled_from([1, 5, 60, 900, 3_600]),
    st.integers(1, 4),
    st.integers(1, 5),
    st.randoms(),
)
def test_neither_the_order_of_the_rows_nor_the_parts_of_the_file_matter(
    powers: list[int], step: int, devices: int, parts: int, chance: Random
) -> None:
    for factor in (1, 1_000):
        energies = [factor * power * step / 3_600 for power in powers]
        in_order = [
            row for device in range(devices) for row in every(step, energies, device, 7 * device)
        ]
        mixed = list(in_order)
        chance.shuffle(mixed)
        assert question(mixed, parts=parts) == question(in_order)
        if factor == 1:
            assert question(mixed) is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 2, 5, 30, 60, 61, 184, 900, 3_600, 40_000, 900_000]),
            st.floats(0, 350),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_no_real_power_is_asked_about_however_irregular_the_rows(
    steps: list[tuple[int, float, bool]],
) -> None:
    """After a gap, the energy is one minute's or, as far as a reading may be, the gap's."""
    rows, time = [(0, 0.0, 999.0)], 0.0  # nobody knows of what time the first one is
    for step, kilowatts, is_of_all in steps:
        time += step
        seconds = step if is_of_all else min(step, 60)
        rows.append((0, time, min(kilowatts * seconds / 3_600, 999)))
    assert question(rows) is None


def test_sessions_far_apart_are_told_from_each_other() -> None:
    """A gap does not hide the session after it, however short."""
    sessions = [every(MINUTE, [183.0] * 5, start=day * 86_400) for day in range(30)]
    assert question([row for session in sessions for row in session])


def test_what_sends_seldom_together_or_in_steps_has_no_impossible_power() -> None:
    whole = [1.0 if n % 65 == 64 else 0.0 for n in range(2_000)]
    assert question(every(5, whole)) is None  # 11 kW by a meter that counts in whole kWh
    two = [every(MINUTE, [0.5] * 500), every(MINUTE, [0.5] * 500, start=1)]
    assert question([*two[0], *two[1]]) is None  # 30 kW each, under one id
    late = every(3_600, [11.0] * 20)
    again = [(device, time + 3, energy) for device, time, energy in late]
    assert question([*late, *again]) is None  # hours that come once more, seconds later
    buffered = [every(0.01, [0.18] * 60, start=hour * 3_600) for hour in range(1, 20)]
    assert question([(0, 0, 0.18), *(row for hour in buffered for row in hour)]) is None


def test_phases_are_measured_each_on_its_own() -> None:
    rows = [row for n in range(3) for row in every(MINUTE, [183.0] * 60, start=n)]
    assert question(rows, phases=[n for n in range(3) for _ in range(60)])
    same = [row for row in every(MINUTE, [3.0] * 60) for _ in range(3)]
    assert question(same) is None  # of equal times the last counts
    assert question(same, phases=[0, 1, 2] * 60) is None


def test_a_declared_interval_is_believed() -> None:
    hourly = every(3_600, [183.0] * 10)
    assert question(hourly) is None
    told = question(hourly, declared=60)
    assert told is not None
    assert "10 of 10" in told
    assert question([(n, 0.0, 183.0) for n in range(10)], declared=60)  # a single row each
    assert question(every(1, [5.0] * 10), declared=60) is None


def test_one_wild_energy_is_an_accident() -> None:
    for count in (5, 180, 5_000):
        energies = [0.18] * count
        energies[count // 2] = 900.0
        assert question(every(MINUTE, energies)) is None
    assert question(every(MINUTE, [*[0.18] * 5_000, *[900.0] * 20])) is None
    assert question(every(MINUTE, [*[0.18] * 5_000, *[900.0] * 30]))


def test_few_rows_are_judged_as_far_as_they_tell() -> None:
    assert question([]) is None
    assert question([(0, 0, 183.0)]) is None
    assert question([(n, 0, 183.0) for n in range(50)]) is None  # one row each: of what time?
    assert question(every(MINUTE, [183.0] * 2))
    assert question([(-1, 60.0 * n, 183.0) for n in range(5)]) is None  # whose they are
    assert question(every(MINUTE, [0.0] * 50)) is None


def test_the_power_is_that_of_the_settings() -> None:
    rows = every(MINUTE, [15.0] * 50)  # 900 kW
    assert question(rows)
    trucks = EnergySettings(charger_classes={"truck": {"greatest_power_kw": 1_200}}, _env_file=None)
    assert question(rows, settings=trucks) is None
    assert question(rows, settings=trucks, field=DC)


@pytest.mark.parametrize("devices", [1, 1_000])
@pytest.mark.parametrize("is_in_order", [True, False])
def test_of_a_large_file_a_share_is_looked_at(devices: int, is_in_order: bool) -> None:
    """Among 600,000 rows a twentieth in Wh is found, and is about a twentieth of what is told."""
    n = np.arange(600_000) if is_in_order else np.random.default_rng(1).permutation(600_000)
    sender, minute = n % devices, n // devices
    in_wh = sender % 20 == 7 if devices > 1 else minute % 60_000 < 3_000
    for energies in (np.full(len(n), 0.18), np.where(in_wh, 180, 0.18)):
        check = UnitCheck(SETTINGS)
        for at in np.array_split(np.arange(len(n)), 4):
            part = EnergyRows(
                energies[at],
                sender[at].astype(np.int32),
                np.full(len(at), -1, np.int32),
                1_780_000_000_000_000 + minute[at] * 60_000_000,
                np.full(len(at), np.nan),
            )
            check.add(AC, part)
        if energies.max() < 1:
            check.require_kwh()
            continue
        with pytest.raises(UnusableFile) as told:
            check.require_kwh()
        above, of_all = re.findall(r"[0-9,]+", str(told.value))[:2]
        share = int(above.replace(",", "")) / int(of_all.replace(",", ""))
        assert 0.03 < share < 0.07
        assert 50_000 < int(of_all.replace(",", "")) <= 250_000
