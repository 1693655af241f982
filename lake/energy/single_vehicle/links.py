"""The meter that one vehicle's heartbeats name, and when, as `named_links` for a fleet."""

from datetime import datetime, timedelta
from typing import Final

import numpy as np

from lake.energy.single_vehicle.readings import Readings
from lake.schema.partitions import EPOCH, microseconds
from lake.settings import EnergySettings

Range = tuple[datetime, datetime]

_MICROSECOND: Final = timedelta(microseconds=1)


class SeveralMeters(Exception):
    """The heartbeats name more than one meter."""


def named_meter(
    vehicle: Readings, start: datetime, end: datetime, settings: EnergySettings
) -> tuple[str, list[Range]] | None:
    """Return the named meter with its ranges in the window, joined where they touch, in order.

    None if no heartbeat names a meter in the window or shortly before it. Raises SeveralMeters.
    """
    largest_gap = timedelta(seconds=settings.largest_gap_seconds)
    near, gap = vehicle.in_window(start - largest_gap, end), largest_gap // _MICROSECOND
    if near.names is None:
        return None
    names = near.names.drop_nulls()
    if names.n_unique() > 1:
        raise SeveralMeters
    is_naming = near.names.is_not_null().to_numpy()
    speaks_from = near.at - gap
    speaks_from[1:] = np.maximum(speaks_from[1:], near.at[:-1])
    # A reading at t is about the time before t: (a, b] in whole microseconds is [a + 1, b + 1).
    begins, ends = speaks_from[is_naming] + 1, near.at[is_naming] + gap + 1
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
