"""Rows of the efficiency tables from facts: sections 9 and 11 of docs/energy.md."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

from lake.settings import EnergySettings
from tests.oracle.facts import Facts, Side, World, window_facts
from tests.oracle.intervals import HOUR, KWH, SECOND

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micro(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def moment(at: int) -> datetime:
    """The UTC time."""
    return EPOCH + timedelta(microseconds=at)


def vehicle_row(
    world: World,
    vehicle: str,
    classes: Mapping[str, str | None],
    start: int,
    end: int,
    settings: EnergySettings,
) -> dict[str, Any] | None:
    """The row of a vehicle, None if it has none."""
    facts = window_facts(world, vehicle, start, end)
    links = [k for k in world.links if k.vehicle == vehicle and k.start < end and k.end > start]
    if not (links or facts.data_points_vehicle or facts.has_energy or facts.dc.known):
        return None
    of_class = _class_of_hours(world, vehicle, classes, start, end)
    return {
        "vehicle_id": vehicle,
        "charger_class": of_class,
        "energy_ac_kwh": _energy(facts.ac.energy, facts.ac.known),
        "energy_dc_kwh": _energy(facts.dc.energy, facts.dc.known),
        **_rating(facts, of_class, settings),
        **_facts(facts),
        "coverage_ac": facts.ac.known / (end - start),
        "longest_gap_seconds": max(_gap(facts, facts.ac), _gap(facts, facts.dc)) / SECOND,
        "battery_temp_sum": facts.temperature_sum / 1000,
        "battery_temp_count": facts.temperature_count,
        "average_battery_temp": round(facts.temperature_sum / facts.temperature_count / 1000, 9)
        if facts.temperature_count
        else None,
        "link_source": "+".join(
            source
            for source in ("link", "heartbeat", "rule")
            if any(k.source == source for k in links)
        )
        or None,
        "meter_ids": sorted({k.meter for k in links}),
    }


def _class_of_hours(
    world: World, vehicle: str, classes: Mapping[str, str | None], start: int, end: int
) -> str | None:
    """The class with the most energy in the hours, each of that of its greatest meter."""
    energies: dict[str | None, int] = {}
    cuts = [start, *range(start // HOUR * HOUR + HOUR, end, HOUR), end]
    for a, b in pairwise(cuts):
        part = window_facts(world, vehicle, a, b)
        linked = {
            k.meter for k in world.links if k.vehicle == vehicle and k.start < b and k.end > a
        }
        if given := linked & part.given.keys():
            most = min(given, key=lambda m: (-part.given[m], m))
            of_hour = classes.get(most)
            energies[of_hour] = energies.get(of_hour, 0) + part.ac.energy
    return max(energies, key=lambda name: energies[name]) if energies else None


def charger_row(
    world: World,
    meter: str,
    classes: Mapping[str, str | None],
    start: int,
    end: int,
    settings: EnergySettings,
) -> dict[str, Any] | None:
    """The row of a charger, None if it has none."""
    facts = window_facts(world, meter, start, end)
    links = [k for k in world.links if k.meter == meter and k.start < end and k.end > start]
    known = facts.ac.known + facts.unlinked_known
    if not (links or facts.data_points_meter or facts.has_energy or known):
        return None
    return {
        "meter_id": meter,
        "charger_class": classes.get(meter),
        "energy_ac_kwh": _energy(facts.ac.energy + facts.unlinked_energy, known),
        "unlinked_energy_ac_kwh": facts.unlinked_energy / KWH,
        "energy_dc_kwh": _energy(facts.dc.energy, facts.dc.known),
        **_rating(facts, classes.get(meter), settings),
        **_facts(facts),
        "coverage_ac": known / (end - start),
        "longest_gap_seconds": _gap(facts, facts.ac) / SECOND,
        "vehicle_ids": sorted({k.vehicle for k in links}),
        "unlinked_known_ac_seconds": facts.unlinked_known / SECOND,
    }


def _facts(facts: Facts) -> dict[str, Any]:
    row: dict[str, Any] = {
        "coverage_dc": facts.dc.known / (facts.end - facts.start),
        "data_points_meter": facts.data_points_meter,
        "data_points_vehicle": facts.data_points_vehicle,
        "resets": facts.resets,
        "duplicates": facts.duplicates,
    }
    for s, side in (("ac", facts.ac), ("dc", facts.dc)):
        row |= {
            f"matched_share_{s}": side.gross_matched / side.gross if side.gross else None,
            f"matched_energy_{s}_kwh": side.matched / KWH,
            f"unmatched_energy_{s}_kwh": side.unmatched / KWH,
            f"gross_energy_{s}_kwh": side.gross / KWH,
            f"gross_matched_energy_{s}_kwh": side.gross_matched / KWH,
            f"unplaced_energy_{s}_kwh": side.unplaced / KWH,
            f"left_out_energy_{s}_kwh": side.left_out_energy / KWH,
            f"left_out_{s}": side.left_out,
            f"conflicts_{s}": side.conflicts,
            f"conflicting_energy_{s}_kwh": side.conflicting_energy / KWH,
            f"known_{s}_seconds": side.known / SECOND,
            f"first_{s}": None if side.first is None else moment(side.first),
            f"last_{s}": None if side.last is None else moment(side.last),
            f"inner_gap_{s}_seconds": side.inner_gap / SECOND,
        }
    return row


def _energy(energy: int, known: int) -> float | None:
    return energy / KWH if energy or known else None


def _gap(facts: Facts, side: Side) -> int:
    if side.first is None or side.last is None:
        return facts.end - facts.start
    return max(side.inner_gap, side.first - facts.start, facts.end - side.last)


def _rating(facts: Facts, of_class: str | None, settings: EnergySettings) -> dict[str, Any]:
    reason, status = _status(facts, of_class, settings)
    row: dict[str, Any] = {"status": status, "reason": reason}
    row["efficiency_percent"] = row["loss_kwh"] = None
    if reason in ("rated", "above_100_percent", "below_floor"):
        row["efficiency_percent"] = float(
            round(Fraction(100 * facts.dc.matched, facts.ac.matched), 9)
        )
        row["loss_kwh"] = (facts.ac.matched - facts.dc.matched) / KWH
    return row


def _status(  # noqa: PLR0911, PLR0912 - a return for each line of the table
    facts: Facts, of_class: str | None, settings: EnergySettings
) -> tuple[str, str]:
    ac, dc = facts.ac, facts.dc
    idle = round(settings.idle_below_kwh * KWH)
    hours = max(Fraction(facts.end - facts.start, HOUR), Fraction(1))
    share = Fraction(str(settings.matched_share_limit))
    if not facts.linked:
        return "no_link", "unmapped"
    for s, side in (("ac", ac), ("dc", dc)):
        least = max(abs(side.energy), idle)
        for code, energy in (
            ("left_out", side.left_out_energy),
            ("unplaced", side.unplaced),
            ("conflict", side.conflicting_energy),
        ):
            if 10 * energy > least:
                return f"{code}_{s}", "insufficient_data"
    if (
        ac.known > 0
        and ac.matched + ac.unmatched < idle * hours
        and dc.matched + dc.unmatched < idle
    ):
        return "nothing_flowed", "idle"
    for s, side in (("ac", ac), ("dc", dc)):
        if side.known == 0:
            return f"not_known_{s}", "insufficient_data"
    for s, side in (("ac", ac), ("dc", dc)):
        if side.gross > 0 and side.gross_matched < share * side.gross:
            return f"unmatched_{s}", "insufficient_data"
    if ac.matched < idle or dc.matched <= 0:
        return "one_side_only", "implausible"
    percent = round(Fraction(100 * dc.matched, ac.matched), 4)
    warning, good, excellent, floor = (
        Fraction(str(limit)) for limit in settings.status_limits(of_class)
    )
    if percent > 100:
        return "above_100_percent", "implausible"
    if percent < floor:
        return "below_floor", "implausible"
    if percent > excellent:
        return "rated", "excellent"
    if percent >= good:
        return "rated", "good"
    return "rated", "warning" if percent >= warning else "critical"
