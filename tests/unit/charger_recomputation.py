"""The numbers of a charger once more: reading by reading in plain Python, from docs/energy.md."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from tests.unit import energy_recomputation as plain
from tests.unit.energy_recomputation import Reading

Range = tuple[str, str, datetime, datetime, str]


def recompute_charger(
    meter: str,
    ac: Sequence[Reading],
    dc: Sequence[Reading],
    ranges: Sequence[Range],
    start: datetime,
    end: datetime,
) -> dict[str, Any]:
    """The numbers of charger_efficiency for one meter, but for loss, ratio and status."""
    own = [reading for reading in ac if reading.device == meter]
    linked = [
        _cut(reading, link)
        for reading in own
        for link in ranges
        if link[0] == meter and _holds(link, reading.timestamp)
    ]
    times = {reading.timestamp for reading in linked}
    fed = credited_to(meter, ac, dc, ranges)
    return {
        "energy_ac_kwh": _total(own),
        "unlinked_energy_ac_kwh": _total([r for r in own if r.timestamp not in times]) or 0.0,
        "linked": _total(linked),
        "energy_dc_kwh": _total(fed),
        "data_points_meter": len(own),
        "data_points_vehicle": len(fed),
        "coverage_ac": _covered(own) / (end - start),
        "coverage_dc": _covered(fed) / (end - start),
        "matched_share_ac": plain._matched(linked, plain._union(fed)),
        "matched_share_dc": plain._matched(fed, plain._union(linked)),
        "longest_gap_seconds": plain._longest_gap(own, start, end),
        "resets": sum(r.is_reset for r in (*own, *fed)),
        "duplicates": sum(r.row.get("duplicates", 0) for r in (*own, *fed)),
        "vehicle_ids": sorted({r[1] for r in ranges if r[0] == meter and _meets(r, start, end)}),
    }


def credited_to(
    meter: str, ac: Sequence[Reading], dc: Sequence[Reading], ranges: Sequence[Range]
) -> list[Reading]:
    """The readings of the vehicles while this meter fed them, with its part of their energy."""
    result = []
    for reading in dc:
        links = [r for r in ranges if r[1] == reading.device and _holds(r, reading.timestamp)]
        feeding = {link[0]: link for link in links}
        if meter not in feeding:
            continue
        given = {
            name: max(0, _microwatt_hours(_given(name, reading.device, ac, ranges)))
            for name in sorted(feeding)
        }
        if not any(given.values()):
            given[min(given)] = 1
        part = reading.energy
        if part is not None:
            until = sum(weight for name, weight in given.items() if name <= meter)
            since = until - given[meter]
            whole = _microwatt_hours(part)
            shares = [round(Fraction(whole * n, sum(given.values()))) for n in (since, until)]
            part = (shares[1] - shares[0]) / 1e9
        result.append(replace(_cut(reading, feeding[meter]), energy=part))
    return result


def _given(meter: str, vehicle: str, ac: Sequence[Reading], ranges: Sequence[Range]) -> float:
    return sum(
        reading.energy or 0.0
        for reading in ac
        for link in ranges
        if (reading.device, *link[:2]) == (meter, meter, vehicle)
        and _holds(link, reading.timestamp)
    )


def _holds(link: Range, moment: datetime) -> bool:
    return link[2] <= moment < link[3]


def _meets(link: Range, start: datetime, end: datetime) -> bool:
    return link[2] < end and link[3] > start


def _cut(reading: Reading, link: Range) -> Reading:
    since = reading.covered_from
    return replace(
        reading,
        interval_start=max(reading.interval_start, link[2]),
        covered_from=max(since, link[2]) if since else None,
    )


def _covered(side: Sequence[Reading]) -> timedelta:
    return sum((ends - begins for begins, ends in plain._union(side)), timedelta(0))


def _total(side: Sequence[Reading]) -> float | None:
    known = [reading.energy for reading in side if reading.energy is not None]
    return sum(known) if known else None


def _microwatt_hours(kwh: float) -> int:
    return round(kwh * 1e9)
