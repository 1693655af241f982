"""The evidence for one vehicle's efficiency, computed within a millisecond.

Of a vehicle that one meter feeds, or none. `vehicle_facts` gives the same bits for a fleet. The
efficiency and its status come from lake/energy/efficiency.py alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl

from lake.energy.efficiency import VEHICLE_FACTS
from lake.energy.interval_energy import DECIMALS, PER_UNIT
from lake.energy.single_vehicle.energy import KnownTime, MeasuredReadings, measure_energy
from lake.energy.single_vehicle.readings import Numbers, Readings
from lake.schema.partitions import microseconds
from lake.settings import EnergySettings

_TYPES: Final = {
    **dict.fromkeys(("vehicle_id", "link_source", "charger_class"), pl.String()),
    "meter_ids": pl.List(pl.String()),
    **dict.fromkeys(("data_points", "resets", "duplicates"), pl.Int64()),
}
_NOTHING: Final = KnownTime(np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True)
class LinkedMeter:
    """A meter with the times in which it feeds a vehicle."""

    readings: Readings
    ranges: Sequence[tuple[datetime, datetime]]
    """Parts of the window, in order; they neither overlap nor touch."""
    register_size_kwh: float | None = None


def facts_of_pair(
    meter: LinkedMeter | None,
    vehicle: Readings,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> dict[str, Any]:
    """Return the columns of `vehicle_facts` about both sides, and the mean temperature.

    `meter` is None if none feeds the vehicle. Readings before `start` are context, as they are for
    `measured_energy`.
    """
    dc, ac = measure_energy(vehicle, start, end, settings, settings.register_size_kwh), None
    if meter:
        of_window = measure_energy(meter.readings, start, end, settings, meter.register_size_kwh)
        ac = of_window.while_linked(meter.ranges)
    return {
        **_side(ac, dc.known, start, end, "ac"),
        **_side(dc, ac.known if ac else _NOTHING, start, end, "dc"),
        "average_battery_temp": _mean(dc.readings.battery_temp),
    }


def facts_table(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return rows of `vehicle_facts` as a frame; a missing value is null."""
    return pl.DataFrame(
        [[row.get(name) for name in VEHICLE_FACTS] for row in rows],
        schema={
            name: _TYPES.get(name.removesuffix("_ac").removesuffix("_dc"), pl.Float64())
            for name in VEHICLE_FACTS
        },
        orient="row",
    )


def _side(
    side: MeasuredReadings | None, other: KnownTime, start: datetime, end: datetime, name: str
) -> dict[str, Any]:
    """Return the facts of a side, ac or dc; all None without a reading."""
    facts = _facts(side, other, start, end) if side and side.readings.at.size else {}
    return {
        f"{fact}_{name}{unit}": facts.get(fact)
        for fact, unit in (
            ("energy", "_kwh"),
            ("data_points", ""),
            ("resets", ""),
            ("duplicates", ""),
            ("gap", ""),
            ("coverage", ""),
            ("matched_share", ""),
        )
    }


def _facts(
    side: MeasuredReadings, other: KnownTime, start: datetime, end: datetime
) -> dict[str, Any]:
    at = side.readings.at
    moments = np.concatenate(([microseconds(start)], at, [microseconds(end)]))
    known_seconds = _rounded(side.known.length / 1e6, 6)
    coverage = _rounded(known_seconds / (end - start).total_seconds(), 9)
    return {
        "energy": _exact_sum(side.energy_kwh),
        "data_points": at.size,
        "resets": int(side.is_reset.sum()),
        "duplicates": int(side.readings.duplicates.sum()),
        "gap": _rounded(int(np.diff(moments).max()) / 1e6, 6),
        "coverage": coverage if side.known.begins.size else None,
        "matched_share": _matched_share(side, other),
    }


def _matched_share(side: MeasuredReadings, other: KnownTime) -> float | None:
    """Part of the energy in known time of the other side; None without energy."""
    has_energy = ~np.isnan(side.energy_kwh) & (side.energy_kwh != 0)
    weight = np.abs(side.energy_kwh[has_energy])
    if not weight.size:
        return None
    since, at = side.interval_start[has_energy], side.readings.at[has_energy]
    (until_since, _), (until_at, is_known) = other.known_until(since), other.known_until(at)
    length = at - since
    # An interval of no length (a reading at the very start) is matched if its moment is known.
    share = np.where(length > 0, (until_at - until_since) / np.maximum(length, 1), is_known)
    whole = _sum(weight)
    return _sum(weight * share) / whole if whole else math.nan


def _exact_sum(values: Numbers) -> float | None:
    """Sum as `exact_sum` does; NaN are no values."""
    known = values[~np.isnan(values)]
    return _sum(known) if known.size else None


def _sum(known: Numbers) -> float:
    whole = int(np.rint(known * PER_UNIT).astype(np.int64).sum())
    return _rounded(whole / PER_UNIT, DECIMALS)


def _mean(values: Numbers) -> float | None:
    known = values[~np.isnan(values)]
    return _sum(known) / known.size if known.size else None


def _rounded(value: float, decimals: int) -> float:
    """Round like Polars: Python itself goes by the digits of the number."""
    one = 10.0**decimals
    return round(value * one) / one
