"""The meter that one vehicle's heartbeats name, and when, as `named_links` for a fleet."""

from datetime import datetime, timedelta
from typing import Final

import numpy as np

from lake.energy.single_vehicle.readings import Readings, Times
from lake.schema.partitions import EPOCH, microseconds
from lake.settings import EnergySettings

Range = tuple[datetime, datetime]

_MICROSECOND: Final = timedelta(microseconds=1)


class SeveralMeters(Exception):
    """The heartbeats name more than one meter."""


def named_meter(
    vehicle: Readings,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
    speaks_for: Times | None = None,
) -> tuple[str, list[Range]] | None:
    """Return the named meter with its ranges in the window, joined where they touch, in order.

    `speaks_for` are microseconds for each reading, as `claims_of_names` takes them; None: the
    largest gap. Whether the vehicle moves makes no difference where no other names the meter.

    None if no heartbeat names a meter in the window or shortly before it. Raises SeveralMeters.
    """
    largest_gap = timedelta(seconds=settings.largest_gap_seconds)
    if vehicle.names is None:
        return None
    if speaks_for is None:
        speaks_for = np.full(vehicle.at.shape, largest_gap // _MICROSECOND)
    is_near = (vehicle.at + speaks_for >= microseconds(start)) & (vehicle.at < microseconds(end))
    near, gap = vehicle.rows_at(is_near), speaks_for[is_near]
    if near.names is None:
        return None
    names = near.names.drop_nulls()
    if names.n_unique() > 1:
        raise SeveralMeters
    is_naming = near.names.is_not_null().to_numpy()
    speaks_from = near.at - gap
    speaks_from[1:] = np.maximum(speaks_from[1:], near.at[:-1])
    # A reading at t is about the time before t: (a, b] in whole microseconds is [a + 1, b + 1).
    begins = speaks_from[is_naming] + 1
    ends = (near.at + gap + 1)[is_naming]
    is_cut = begins[1:] > ends[:-1]
    begins, ends = begins[np.append(True, is_cut)], ends[np.append(is_cut, True)]
    begins, ends = np.maximum(begins, microseconds(start)), np.minimum(ends, microseconds(end))
    ranges = [
        (_moment(since), _moment(until))
        for since, until in zip(begins.tolist(), ends.tolist(), strict=True)
        if since < until
    ]
    return (names[0], ranges) if ranges else None


def _moment(microseconds_since_1970: int) -> datetime:
    return EPOCH + microseconds_since_1970 * _MICROSECOND
