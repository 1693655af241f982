"""Charging of one meter and one vehicle, minute by minute, as stretches and sessions."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from lake import HOUR, METER, VEHICLE, EnergySettings
from lake.energy.efficiency import efficiency_of_window
from lake.sessions import LINKS, charging_sessions, hours_as_stretches
from lake.sessions.stretches import charging_stretches
from tests.unit.energy_recomputation import Row, charger_classes, links, readings

SETTINGS = EnergySettings(_env_file=None)
MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)
Range = tuple[str, str, datetime, datetime, str]


def at(hours: float) -> datetime:
    """The moment so many hours after midnight, to the minute."""
    return MIDNIGHT + timedelta(minutes=round(60 * hours))


def minutes(start: float, end: float) -> list[datetime]:
    """The ends of the minutes from one hour of the day to another."""
    count = round(60 * (end - start))
    return [at(start) + timedelta(minutes=n + 1) for n in range(count)]


def heartbeats(
    charging: Iterable[tuple[float, float]],
    first: float,
    last: float,
    *,
    vehicle: str = "V1",
    meter: str = "M1",
    stand_by_kwh: float = 0.0002,
    **values: Any,
) -> tuple[list[Row], list[Row]]:
    """Rows of meter and vehicle each minute: 0.12 and 0.11 kWh while charging."""
    flows = {moment for start, end in charging for moment in minutes(start, end)}
    meters: list[Row] = [
        {
            "meter_id": meter,
            "timestamp": moment,
            "kwh_consumed_ac": 0.12 if moment in flows else stand_by_kwh,
        }
        for moment in minutes(first, last)
    ]
    vehicles: list[Row] = [
        {
            "vehicle_id": vehicle,
            "timestamp": moment,
            "kwh_delivered_dc": 0.11 if moment in flows else 0.0,
            **values,
        }
        for moment in minutes(first, last)
    ]
    return meters, vehicles


def by_rule(first: float, last: float, vehicle: str = "V1", meter: str = "M1") -> Range:
    """A link by the rule."""
    return (meter, vehicle, at(first), at(last), "rule")


def tables_of_hours(
    meters: Sequence[Row], vehicles: Sequence[Row], ranges: Sequence[Range], first: int, last: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The stretches of some hours, and the rows of their vehicles."""
    frames = readings(METER, meters).collect(), readings(VEHICLE, vehicles).collect()
    linked = links(ranges).collect(), charger_classes({}).collect()
    stretches, hours = [], []
    for hour in (at(n) for n in range(first, last)):
        found = efficiency_of_window(*frames, *linked, hour, hour + HOUR, SETTINGS)
        stretches.append(charging_stretches(found, frames[1], *linked, SETTINGS))
        hours.append(found.tables.vehicles)
    return pl.concat(stretches), pl.concat(hours)


def sessions_of(
    meters: Sequence[Row],
    vehicles: Sequence[Row],
    ranges: Sequence[Range],
    first: int,
    last: int,
    explicit: Sequence[tuple[str, datetime, datetime | None]] = (),
) -> pl.DataFrame:
    """The sessions of some hours."""
    stretches, hours = tables_of_hours(meters, vehicles, ranges, first, last)
    return merged(stretches, hours, last, explicit)


def merged(
    stretches: pl.DataFrame,
    hours: pl.DataFrame,
    last: int,
    explicit: Sequence[tuple[str, datetime, datetime | None]] = (),
) -> pl.DataFrame:
    """The sessions of the rows of some hours, with the hours between."""
    key = ["vehicle_id", "hour_start"]
    between = hours_as_stretches(hours.join(stretches, on=key, how="anti"))
    plugged = pl.DataFrame(list(explicit), schema=LINKS, orient="row")
    return charging_sessions(pl.concat([stretches, between]), plugged, at(last), SETTINGS)
