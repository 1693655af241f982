"""A register that freezes while the other side moves is implausible, and nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import METER, VEHICLE, EnergySettings
from lake.energy.efficiency import vehicle_efficiency
from lake.energy.interval_energy import measured_energy
from tests.unit.energy_recomputation import (
    HOUR_10,
    HOUR_11,
    Row,
    charger_classes,
    links,
    readings,
    seconds,
)
from tests.unit.energy_samples import patiently

SETTINGS = EnergySettings(_env_file=None)
STREAMS = {"ac": METER, "dc": VEHICLE}
DEVICES = {"ac": "M1", "dc": "V1"}


def status(ac: list[Row], dc: list[Row]) -> dict[str, Any]:
    window = HOUR_10, HOUR_11
    meters, vehicles = (
        measured_energy(readings(STREAMS[side], rows), STREAMS[side], *window, SETTINGS)
        for side, rows in (("ac", ac), ("dc", dc))
    )
    fed = links([("M1", "V1", *window, "link")])
    (row,) = (
        vehicle_efficiency(meters, vehicles, fed, charger_classes({}), *window, SETTINGS)
        .collect()
        .to_dicts()
    )
    return row


def reading(side: str, offset: float, value: float | None, kind: str) -> Row:
    stream = STREAMS[side]
    row = {stream.device: DEVICES[side], "timestamp": seconds(offset), stream.energy: value}
    return {**row, "reading_type": kind}


def moving(side: str, kind: str) -> list[Row]:
    """12 kWh an hour, a reading each minute."""
    return [
        reading(side, t, 0.2 if kind == "interval" else 50 + t / 300, kind)
        for t in range(-60, 3600, 60)
    ]


@st.composite
def frozen(draw: st.DrawFn, side: str) -> list[Row]:
    """A register at one value, with gaps; readings of either kind without a value are among."""
    said = st.sampled_from([(7.0, "register"), (None, "register"), (None, "interval")])
    offsets = draw(st.sets(st.integers(0, 118).map(lambda n: 30 * n), max_size=40))
    between = [reading(side, t, *draw(said)) for t in offsets]
    return [reading(side, -600, 7.0, "register"), *between, reading(side, 3590, 7.0, "register")]


@patiently
@given(st.data(), st.sampled_from(["interval", "register"]), st.sampled_from(["ac", "dc"]))
def test_a_frozen_register_is_implausible_on_either_side_and_through_any_gap(
    data: st.DataObject, kind: str, side: str
) -> None:
    other = "dc" if side == "ac" else "ac"
    sides = {side: data.draw(frozen(side)), other: moving(other, kind)}
    row = status(sides["ac"], sides["dc"])
    assert row["status"] == "implausible"
    assert row[f"energy_{side}_kwh"] == 0
    assert row[f"energy_{other}_kwh"] == pytest.approx(12, abs=0.21)


@pytest.mark.parametrize("side", ["ac", "dc"])
def test_a_register_that_is_silent_while_the_other_side_moves_is_not_known_to_be_frozen(
    side: str,
) -> None:
    other = "dc" if side == "ac" else "ac"
    sides = {side: [reading(side, -600, 7.0, "register")], other: moving(other, "interval")}
    assert status(sides["ac"], sides["dc"])["status"] == "insufficient_data"


@pytest.mark.parametrize("side", ["ac", "dc"])
def test_a_register_that_moved_in_a_gap_says_not_when(side: str) -> None:
    other = "dc" if side == "ac" else "ac"
    gap = [reading(side, -600, 7.0, "register"), reading(side, 3590, 7.5, "register")]
    row = status(**{side: gap, other: moving(other, "interval")})
    assert row["status"] == "insufficient_data"
    assert row[f"coverage_{side}"] == pytest.approx(300 / 3600)


def test_a_register_that_stands_still_while_nothing_flows_is_idle() -> None:
    ac = [reading("ac", t, 0.0, "interval") for t in range(-60, 3600, 60)]
    dc = [reading("dc", t, 7.0, "register") for t in (-600, 3590)]
    row = status(ac, dc)
    assert (row["status"], row["coverage_dc"]) == ("idle", pytest.approx(3590 / 3600))
    assert row["longest_gap_seconds"] == 3590.0
