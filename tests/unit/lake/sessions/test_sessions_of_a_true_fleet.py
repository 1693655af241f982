"""Sessions of a simulated fleet are those that truly were, whatever its devices are like."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import polars as pl
import pytest

from lake import HOUR
from lake.energy.efficiency import efficiency_of_window
from lake.sessions import LINKS, charging_sessions
from lake.sessions.stretches import charging_stretches
from tests.harness.true_fleet.fleet import BEGIN, TrueFleet, TrueVehicle
from tests.harness.true_fleet.kinds import KINDS

HOURS = 36
# Of these a session is told to the minute, or to a reading of the slower side.
NAMES = (
    "30s",
    "60s",
    "60s-registers",
    "60s-jitter",
    "2min-30s",
    "60s-5min",
    "lost-10%",
    "register-false-zero",
    "register-restarts",
    "register-rolls-over",
    "register-steps-back",
    "register-wobbles",
    "repeated",
    "soc-apart",
    "midnight",
)
Span = tuple[float, float]


@pytest.fixture(scope="module")
def fleet() -> TrueFleet:
    kinds = [kind for kind in KINDS if kind.name in NAMES]
    assert len(kinds) == len(NAMES)
    return TrueFleet(vehicles_of_each=10, hours=HOURS, seed=2, kinds=kinds)


@pytest.fixture(scope="module")
def sessions(fleet: TrueFleet) -> pl.DataFrame:
    stretches, settings = [], fleet.settings()
    for start in fleet.starts:
        hour = fleet.inputs(start)
        meters, vehicles, links, classes = pl.collect_all(
            [hour.meters, hour.vehicles, hour.links, hour.charger_classes]
        )
        found = efficiency_of_window(meters, vehicles, links, classes, *hour.window, settings)
        stretches.append(charging_stretches(found, vehicles, links, classes, settings))
    none = pl.DataFrame(schema=LINKS)
    return charging_sessions(pl.concat(stretches), none, fleet.starts[-1] + HOUR, settings)


@pytest.mark.parametrize("name", NAMES)
def test_every_session_is_found_where_it_was(
    fleet: TrueFleet, sessions: pl.DataFrame, name: str
) -> None:
    looked_at, near = 0, 620 if name == "register-wobbles" else 320
    for one in fleet.vehicles:
        charged = flows(one)
        gaps = [after[0] - before[1] for before, after in pairwise(charged)]
        # Whether a pause near the limit was one, a reading may hide.
        if one.kind.name != name or any(24 * 60 < gap < 40 * 60 for gap in gaps):
            continue
        true = merged(charged)
        rows = sessions.filter(vehicle_id=one.vehicle_id).sort("begins")
        found = [
            tuple((at - BEGIN) / timedelta(seconds=1) for at in span)
            for span in rows.select("begins", "last_energy_at").iter_rows()
        ]
        assert len(found) == len(true), one.vehicle_id
        for span, (begins, ends) in zip(found, true, strict=True):
            assert span == pytest.approx((begins, ends), abs=near)
        looked_at += len(true)
    assert looked_at >= 3


def flows(one: TrueVehicle) -> list[Span]:
    """When energy truly reached the battery, within the hours of the fleet."""
    curve, most = one.charging.dc, HOURS * 3600.0
    found: list[Span] = []
    lines = zip(curve.seconds, curve.seconds[1:], curve.kwh, curve.kwh[1:], strict=False)
    for since, until, before, after in lines:
        if after > before and until > 0 and since < most:
            span = max(float(since), 0.0), min(float(until), most)
            if found and span[0] <= found[-1][1]:
                span = found.pop()[0], span[1]
            found.append(span)
    return found


def merged(charged: Sequence[Span]) -> list[Span]:
    """The sessions of these times: no pause is longer than half an hour."""
    found: list[Span] = []
    for since, until in charged:
        if found and since - found[-1][1] <= 30 * 60:
            found[-1] = found[-1][0], until
        else:
            found.append((since, until))
    return found
