"""The energy mathematics once more: row by row in plain Python, slow, and from the definitions.

Property tests compare the Polars functions with these. Written from docs/energy.md.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from lake import EnergySettings, Stream
from lake.schema.streams import REGISTER
from lake.settings import ChargerClass

HOUR_10 = datetime(2026, 11, 20, 10, tzinfo=UTC)
HOUR_11 = HOUR_10 + timedelta(hours=1)

Row = Mapping[str, Any]


def seconds(offset: float) -> datetime:
    """The moment this many seconds after 10:00."""
    return HOUR_10 + timedelta(seconds=offset)


def readings(stream: Stream, rows: Iterable[Row]) -> pl.LazyFrame:
    """Readings as the history has them; what a row leaves out is null, or its usual value."""
    of_stream = pl.DataFrame(stream.arrow_schema.empty_table()).schema
    schema = pl.Schema({**of_stream, "duplicates": pl.Int64()})
    usual = {"reading_type": "interval", "duplicates": 0, "received_at": HOUR_11}
    filled = [{name: {**usual, **row}.get(name) for name in schema} for row in rows]
    return pl.LazyFrame(filled, schema=schema)


def devices(stream: Stream, rows: Iterable[Row], linked: Iterable[str]) -> pl.Series:
    """The ids of devices that have a row or a link."""
    found = {row[stream.device] for row in rows} | set(linked)
    return pl.Series(stream.device, sorted(found), pl.String)


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


@dataclass
class Reading:
    """Reading, recomputed."""

    device: str
    timestamp: datetime
    energy: float | None
    is_reset: bool
    interval_start: datetime
    covered_from: datetime | None
    row: Row = field(repr=False)


def recompute_readings(
    rows: Sequence[Row], stream: Stream, start: datetime, end: datetime, settings: EnergySettings
) -> list[Reading]:
    """One Reading for each row of the window, by device and time."""
    largest_gap = timedelta(seconds=settings.largest_gap_seconds)
    nominal = timedelta(seconds=settings.nominal_interval_seconds)
    lookback = timedelta(hours=settings.register_lookback_hours)
    result = []
    for device in sorted({row[stream.device] for row in rows}):
        own = [row for row in rows if row[stream.device] == device and row["timestamp"] < end]
        own.sort(key=lambda row: row["timestamp"])
        for position, row in enumerate(own):
            now, value = row["timestamp"], row.get(stream.energy)
            if now < start:
                continue
            is_register = row.get("reading_type") == REGISTER
            before = own[position - 1]["timestamp"] if position else None
            registers = [r for r in own[:position] if _is_value(r, stream)]
            last = registers[-1] if registers else None
            if last and now - last["timestamp"] > lookback:
                last = None
            if before and before < start - largest_gap:
                before = last["timestamp"] if is_register and last else None
            energy, is_reset = value, False
            if is_register and value is not None:
                energy = None
                if last:
                    energy, is_reset = _step(last[stream.energy], value, settings)
            bridged = (
                value is None
                and last is not None
                and any(_is_value(r, stream) for r in own[position + 1 :])
            )
            flow_start = before or now - nominal
            if is_register and last:
                flow_start = last["timestamp"]
            covered_from = None
            if energy is not None or bridged:
                covered_from = max(before or now - nominal, now - largest_gap, start)
            if is_register and last and energy is not None and energy <= 0 and not is_reset:
                covered_from = max(last["timestamp"], start)
            result.append(
                Reading(device, now, energy, is_reset, max(flow_start, start), covered_from, row)
            )
    return result


def recompute_vehicle(
    vehicle: str,
    ac: Sequence[Reading],
    dc: Sequence[Reading],
    ranges: Sequence[tuple[str, str, datetime, datetime, str]],
    classes: Mapping[str, str],
    start: datetime,
    end: datetime,
) -> dict[str, Any]:
    """The numbers of vehicle_efficiency for one vehicle, but for the ratio and the status."""
    credited = []
    for reading in ac:
        for meter, fed, valid_from, valid_to, _ in ranges:
            inside = valid_from <= reading.timestamp < valid_to
            if (meter, fed) == (reading.device, vehicle) and inside:
                since = reading.covered_from
                credited.append(
                    Reading(
                        reading.device,
                        reading.timestamp,
                        reading.energy,
                        reading.is_reset,
                        max(reading.interval_start, valid_from),
                        max(since, valid_from) if since else None,
                        reading.row,
                    )
                )
    own = [reading for reading in dc if reading.device == vehicle]
    sides = (credited, own)
    known = [_union(side) for side in sides]
    energies = [[r.energy for r in side if r.energy is not None] for side in sides]
    temperatures = [r.row["battery_temp"] for r in own if r.row.get("battery_temp") is not None]
    length = (end - start).total_seconds()
    linked = [r for r in ranges if r[1] == vehicle and r[2] < end and r[3] > start]
    sources = {source for *_, source in linked}
    given = {meter: 0.0 for meter, *_ in linked}
    for reading in credited:
        given[reading.device] = round(given[reading.device] + (reading.energy or 0.0), 9)
    strongest = min(given, key=lambda meter: (-given[meter], meter), default="")
    return {
        "energy_ac_kwh": sum(energies[0]) if energies[0] else None,
        "energy_dc_kwh": sum(energies[1]) if energies[1] else None,
        "data_points_meter": len(credited),
        "data_points_vehicle": len(own),
        "coverage_ac": sum((e - b).total_seconds() for b, e in known[0]) / length,
        "coverage_dc": sum((e - b).total_seconds() for b, e in known[1]) / length,
        "matched_share_ac": _matched(credited, known[1]),
        "matched_share_dc": _matched(own, known[0]),
        "longest_gap_seconds": max(_longest_gap(side, start, end) for side in sides),
        "resets": sum(r.is_reset for side in sides for r in side),
        "duplicates": sum(r.row.get("duplicates", 0) for side in sides for r in side),
        "average_battery_temp": sum(temperatures) / len(temperatures) if temperatures else None,
        "charger_class": classes.get(strongest),
        "link_source": "+".join(s for s in ("link", "heartbeat", "rule") if s in sources) or None,
        "meter_ids": sorted({meter for meter, *_ in linked}),
    }


def recompute_status(row: Row, settings: EnergySettings, hours: float = 1) -> str:  # noqa: PLR0911
    """The status by the table of docs/energy.md, from the top."""
    ac, dc = row["energy_ac_kwh"], row["energy_dc_kwh"]
    shares = [row["matched_share_ac"], row["matched_share_dc"]]
    idle_below = settings.idle_below_kwh
    if row["link_source"] is None:
        return "unmapped"
    stand_by = idle_below if dc is None else idle_below * max(1, hours)
    if ac is not None and ac < stand_by and (dc is None or dc < idle_below):
        return "idle"
    if ac is None or dc is None:
        return "insufficient_data"
    if any(share is not None and share < settings.matched_share_limit for share in shares):
        return "insufficient_data"
    if dc <= 0 or dc > ac:
        return "implausible"
    percent = round(100 * dc / ac, 9)
    own = settings.charger_classes.get(row.get("charger_class") or "", ChargerClass())
    limits = {**settings.model_dump(), **own.model_dump(exclude_none=True)}
    if percent > limits["excellent_above_percent"]:
        return "excellent"
    if percent >= limits["good_from_percent"]:
        return "good"
    return "warning" if percent >= limits["warning_from_percent"] else "critical"


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


def _step(last: float, value: float, settings: EnergySettings) -> tuple[float, bool]:
    """The energy between two values of a register, and whether it was reset between them."""
    step, noise, size = round(value - last, 9), settings.register_noise_kwh, 0.0
    limit = settings.register_size_kwh or 0.0
    if limit > 2 * noise and all(0 <= reading <= limit for reading in (last, value)):
        size = limit
    if size and round(step - size, 9) >= -noise:
        return round(step - size, 9), False
    if step >= -noise:
        return step, False
    if size and round(step + size, 9) <= size / 16:
        return round(step + size, 9), False
    return value, True


def _is_value(row: Row, stream: Stream) -> bool:
    return row.get("reading_type") == REGISTER and row.get(stream.energy) is not None


def _union(side: Sequence[Reading]) -> list[tuple[datetime, datetime]]:
    pieces = sorted((r.covered_from, r.timestamp) for r in side if r.covered_from is not None)
    merged: list[tuple[datetime, datetime]] = []
    for begins, ends in pieces:
        if merged and begins <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], ends))
        else:
            merged.append((begins, ends))
    return merged


def _matched(side: Sequence[Reading], known: Sequence[tuple[datetime, datetime]]) -> float | None:
    total = matched = 0.0
    for reading in side:
        if not reading.energy:
            continue
        begins, ends = reading.interval_start, reading.timestamp
        if begins == ends:
            share = float(any(b <= ends <= e for b, e in known))
        else:
            overlaps = (min(e, ends) - max(b, begins) for b, e in known)
            inside = sum((o for o in overlaps if o > timedelta(0)), timedelta(0))
            share = inside / (ends - begins)
        total += abs(reading.energy)
        matched += abs(reading.energy) * share
    return matched / total if total else None


def _longest_gap(side: Sequence[Reading], start: datetime, end: datetime) -> float:
    moments = [start, *sorted(r.timestamp for r in side), end]
    pairs = itertools.pairwise(moments)
    return max((after - before).total_seconds() for before, after in pairs)
