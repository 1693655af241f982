"""Heartbeats, links and classes for tests of energies, and the named meters recomputed."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from lake import EnergySettings, Stream
from lake.energy import CADENCE

HOUR_10 = datetime(2026, 11, 20, 10, tzinfo=UTC)
HOUR_11 = HOUR_10 + timedelta(hours=1)

Row = Mapping[str, Any]


def seconds(offset: float) -> datetime:
    """The moment this many seconds after 10:00."""
    return HOUR_10 + timedelta(seconds=offset)


def readings(stream: Stream, rows: Iterable[Row]) -> pl.LazyFrame:
    """Readings as the history has them; what a row leaves out is null, or its usual value."""
    of_stream = pl.DataFrame(stream.arrow_schema.empty_table()).schema
    conflicts = {"conflicts": pl.Int64(), "conflicting_energy": pl.Float64()}
    told = {CADENCE: pl.Float64()}
    schema = pl.Schema({**of_stream, "duplicates": pl.Int64(), **conflicts, **told})
    usual = {"reading_type": "interval", "duplicates": 0, "received_at": HOUR_11}
    filled = [{name: {**usual, **row}.get(name) for name in schema} for row in rows]
    return pl.LazyFrame(filled, schema=schema)


def links(rows: Iterable[tuple[str, str, datetime, datetime, str]]) -> pl.LazyFrame:
    """Links: meter, vehicle, valid_from, valid_to, source."""
    time = pl.Datetime("us", "UTC")
    return pl.LazyFrame(
        list(rows),
        schema={
            "meter_id": pl.String,
            "vehicle_id": pl.String,
            "valid_from": time,
            "valid_to": time,
            "source": pl.String,
        },
        orient="row",
    )


def charger_classes(of_meters: Mapping[str, str]) -> pl.LazyFrame:
    """The class of each meter that has one."""
    schema = {"meter_id": pl.String, "charger_class": pl.String}
    return pl.LazyFrame(list(of_meters.items()), schema=schema, orient="row")


def named_meter(
    rows: Sequence[Row], vehicle: str, moment: datetime, settings: EnergySettings
) -> tuple[str, bool] | None:
    """The meter that a vehicle's heartbeats name for a moment, and whether that is certain."""
    largest_gap = timedelta(seconds=settings.largest_gap_seconds)
    own = sorted(
        (row for row in rows if row["vehicle_id"] == vehicle), key=lambda row: row["timestamp"]
    )
    speaking = []  # (from, at, meter, after a silence) of each heartbeat that names a meter
    for position, row in enumerate(own):
        if row.get("meter_id") is None:
            continue
        at = row["timestamp"]
        before = own[position - 1]["timestamp"] if position else None
        silent = before is None or at - before > largest_gap
        since = at - largest_gap if silent or before is None else before
        speaking.append((since, at, row["meter_id"], silent))
    for since, at, meter, silent in speaking:
        if since < moment <= at:
            earlier = [s for s in speaking if s[1] < at]
            goes_on = earlier and earlier[-1][2] == meter and at - earlier[-1][1] <= largest_gap
            return meter, bool(goes_on) or not silent or moment == at
    earlier = [s for s in speaking if s[1] < moment]
    later = [s for s in speaking if s[1] >= moment]
    if earlier and moment <= earlier[-1][1] + largest_gap:
        _, at, meter, _ = earlier[-1]
        same_next = later and later[0][2] == meter and later[0][1] - at <= largest_gap
        return meter, bool(same_next)
    return None


def moving_ranges(
    rows: Sequence[Row], vehicle: str, settings: EnergySettings
) -> list[tuple[str, datetime, datetime]]:
    """The ranges (from, to] in which a vehicle's energy moves, and the meter that it names then.

    Of interval readings.
    """
    gap = timedelta(seconds=settings.largest_gap_seconds)
    own = sorted((r for r in rows if r["vehicle_id"] == vehicle), key=lambda r: r["timestamp"])
    found: list[tuple[str, datetime, datetime]] = []
    for position, row in enumerate(own):
        at, named = row["timestamp"], named_meter(rows, vehicle, row["timestamp"], settings)
        if not row.get("kwh_delivered_dc") or named is None:
            continue
        since = max(at - gap, own[position - 1]["timestamp"] if position else at - gap)
        ends = [found[-1][2]] if found and found[-1][0] == named[0] else []
        # Where the name has begun: its first heartbeat since a silence or another name.
        names = [r for r in own if r.get("meter_id") is not None]
        speaking = [n for n in names if n["timestamp"] >= at][:1]
        if not (speaking and _since(own, speaking[0], gap) < at):
            speaking = [n for n in names if n["timestamp"] < at][-1:]
        first = names.index(speaking[0])
        while first and _goes_on(names[first - 1], names[first], gap):
            first -= 1
        begins = _since(own, names[first], gap)
        since = max(since, begins)
        if ends and ends[0] > begins and since - ends[0] <= gap:
            since = found.pop()[1]
        found.append((named[0], since, at))
    return found


def _since(own: Sequence[Row], row: Row, gap: timedelta) -> datetime:
    at: datetime = row["timestamp"]
    earlier: list[datetime] = [r["timestamp"] for r in own if r["timestamp"] < at]
    return max([at - gap, *earlier[-1:]])


def _goes_on(before: Row, row: Row, gap: timedelta) -> bool:
    is_same: bool = before["meter_id"] == row["meter_id"]
    return is_same and row["timestamp"] - before["timestamp"] <= gap
