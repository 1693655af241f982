"""Sources of answers in the lake: files of the history, and heartbeats on their way there."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from ingestion_api.analytics.performance.vehicle_context import VehicleContext
from lake import HOUR, STREAMS, hour_of
from lake.reads import LakeSnapshot, Reach

Device: TypeAlias = tuple[str, str]
"""Its kind and id."""


class Source(NamedTuple):
    """All that tells the readings of a device in some time."""

    files: Sequence[str]
    raw_files: Sequence[str]
    """Those of the hours in which heartbeats wait."""
    dirty_hours: Sequence[datetime]
    outbox: Sequence[Mapping[str, Any]]


def files_of(view: LakeSnapshot, reach: Mapping[Device, Reach]) -> dict[Device, list[str]]:
    """Return the files of the history in which heartbeats of devices may lie."""
    return {
        device: view.history[device[0]].paths_between(*found) for device, found in reach.items()
    }


class Waiting:
    """Heartbeats that may be or are on their way to the history."""

    def __init__(self, context: VehicleContext) -> None:
        self._dirty = context.dirty_hours
        self._outbox = defaultdict[Device, list[dict[str, Any]]](list)
        for kind, rows in context.outbox.items():
            for row in rows.to_pylist() if rows.num_rows else ():
                self._outbox[kind, row[STREAMS[kind].device]].append(row)

    def any_of(self, device: Device, since: datetime, until: datetime) -> bool:
        """Tell whether any of a device may lie in this time."""
        return bool(self._hours(device, since, until) or self._rows(device, since, until))

    def source_of(self, view: LakeSnapshot, device: Device, reach: Reach) -> Source:
        """Return what tells the readings of a device in a time."""
        rows, dirty = self._rows(device, *reach), self._hours(device, *reach)
        hours = sorted({*dirty, *(hour_of(row["timestamp"]) for row in rows)})
        kind, _ = device
        return Source(
            view.history[kind].paths_between(*reach),
            view.raw[kind].paths_of_hours(hours),
            dirty,
            rows,
        )

    def _hours(self, device: Device, since: datetime, until: datetime) -> list[datetime]:
        return sorted(h for h in self._dirty[device[0]] if h + HOUR > since and h < until)

    def _rows(self, device: Device, since: datetime, until: datetime) -> list[dict[str, Any]]:
        return [row for row in self._outbox.get(device, ()) if since <= row["timestamp"] < until]
