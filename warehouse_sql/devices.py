"""The device registry: list, update, remove."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from psycopg.rows import class_row

from warehouse_sql.device_attributes import ATTRIBUTES, DeviceAttributes
from warehouse_sql.errors import WarehouseError
from warehouse_sql.named_queries import query
from warehouse_sql.session import transaction


class UnknownDepot(WarehouseError):
    """A device is said to belong to a depot that there is not."""


@dataclass(frozen=True)
class Device:
    """A device of the registry, or one that was heard and waits for its compaction.

    `first_heard_at` is null until its first hour is compacted, `newest_at` where no collector has
    heard it, `updated_at` where people have said nothing of it.
    """

    stream: str
    device_id: str
    first_heard_at: datetime | None
    newest_at: datetime | None
    updated_at: datetime | None
    charger_class: str | None
    retired_at: datetime | None
    depot: str | None
    group: str | None
    driver: str | None
    label: str | None
    latitude: float | None
    longitude: float | None
    time_zone: str | None
    cadence_seconds: float | None


@dataclass(frozen=True)
class DeviceUpdate:
    """New values of a device: those that are set."""

    stream: str
    device_id: str
    attributes: DeviceAttributes


@dataclass(frozen=True)
class UpdatedDevices:
    """The changes of an update.

    `unheard` are ids of which no heartbeat ever came, `hours` the computed hours that wait for
    their computation again.
    """

    changed: int
    unheard: list[str]
    hours: int


@dataclass(frozen=True)
class RemovedDevices:
    """Counts of removed devices, and of their open alerts that were resolved."""

    devices: int
    alerts: int


_AT_A_TIME: Final = 5_000
_LIVE_STATE_REMOVALS: Final = {
    "meter": "remove_meter_live_state",
    "vehicle": "remove_vehicle_live_state",
}
_REMOVALS: Final = (
    "remove_named_links",
    "remove_from_registry",
    "end_pairs",
    "remove_unpaired",
    "pair_those_left",
    "remove_alert_pending",
    "remove_alert_silences",
    "remove_alert_soc_peaks",
    "remove_rejections",
)
_END: Final = datetime.max.replace(tzinfo=UTC)


def list_devices(
    dsn: str,
    *,
    stream: str | None = None,
    charger_class: str | None = None,
    silent_since: datetime | None = None,
    pattern: str | None = None,
    depot: str | None = None,
    group: str | None = None,
    limit: int | None = None,
) -> list[Device]:
    """Devices by stream and id: all, or those that are like each value that is given.

    In `pattern` an asterisk stands for any characters and a question mark for one. The first
    `limit` of them; None: however many there are. Silent is a device without a heartbeat, by its
    own clock, since then. Raises DatabaseUnreachable or WarehouseError.
    """
    wanted = {
        "stream": stream,
        "charger_class": charger_class,
        "silent_since": silent_since,
        "pattern": None if pattern is None else _like(pattern),
        "limit": limit,
        "depots": None if depot is None else [depot],
        "groups": None if group is None else [group],
        **dict.fromkeys(("device", "after_stream", "after_id")),
    }
    with transaction(dsn) as conn, conn.cursor(row_factory=class_row(Device)) as cursor:
        return cursor.execute(query("list_devices"), wanted).fetchall()


def list_depots(dsn: str) -> list[str]:
    """Ids of the depots. Raises as `list_devices`."""
    with transaction(dsn) as conn:
        return [row["id"] for row in conn.execute(query("list_depots"), {"id": None})]


def update_devices(
    dsn: str, told: Sequence[DeviceUpdate], *, dry_run: bool = False
) -> UpdatedDevices:
    """Take down what is said of devices, each at most once, and open the hours that it changes.

    A charger class and a cadence are corrections: they count for every hour since the device was
    first heard. A retirement changes the hours between the old time and the new one, in which the
    device was expected and no longer is, or the reverse. Where a meter has another tariff by its
    depot, the days on which it sent an energy are priced again. A dry run changes nothing and
    counts alike.
    Raises UnknownDepot, and as `list_devices`.
    """
    streams, devices = [one.stream for one in told], [one.device_id for one in told]
    depots = {one.attributes.depot for one in told if one.attributes.depot is not None}
    with transaction(dsn) as conn:
        held = conn.execute(query("hold_depots"), {"depots": sorted(depots)})
        for missing in sorted(depots - {row["id"] for row in held}):
            raise UnknownDepot(unknown_depot(missing))
        # Else a device that is first heard now could be computed without what is told here.
        conn.execute(query("lock_devices"))
        rows = conn.execute(query("devices_named"), {"streams": streams, "devices": devices})
        known = {(row["stream"], row["device_id"]): row for row in rows}
        changes = []
        for one in told:
            before = known[one.stream, one.device_id]
            corrected = _corrected(before, one)
            if corrected != before or not before["is_registered"]:
                changes.append((before, corrected))
        after = [corrected for _, corrected in changes]
        columns = ("stream", "device_id", *ATTRIBUTES)
        conn.execute(
            query("update_devices"), {name: [row[name] for row in after] for name in columns}
        )
        moved = [(row, now) for row, now in changes if row["stream"] == "meter"]
        conn.execute(
            query("reprice_days_of_meters"),
            {
                "meters": [now["device_id"] for _, now in moved],
                "before": [row["depot"] for row, _ in moved],
                "after": [now["depot"] for _, now in moved],
            },
        )
        ranges = [change for pair in changes for change in _changed_hours(*pair)]
        reopened = conn.execute(
            query("reopen_hours_within"),
            {"since": [since for since, _ in ranges], "until": [until for _, until in ranges]},
        ).fetchall()
        if dry_run:
            conn.rollback()
    return UpdatedDevices(
        changed=len(changes),
        unheard=[row["device_id"] for row in known.values() if not row["is_heard"]],
        hours=len({row["hour"] for row in reopened if row["is_computed"]}),
    )


def unknown_depot(depot: str) -> str:
    """Say that there is no such depot, and how to make it."""
    return f"there is no depot {depot!r}; PUT /v1/depots/{depot} makes it"


def remove_devices(dsn: str, devices: Collection[tuple[str, str]]) -> RemovedDevices:
    """Forget devices, by stream and id, but for the history and what was computed from it.

    Live state and registry lose them, and so do the pairs that heartbeats named, rejections,
    pending alerts and silences; open alerts are resolved. A later heartbeat brings a device back.
    Some thousand at a time are a transaction. Raises as `list_devices`.
    """
    removed = alerts = 0
    for stream, remove_live_state in _LIVE_STATE_REMOVALS.items():
        ids = sorted({device for name, device in devices if name == stream})
        for first in range(0, len(ids), _AT_A_TIME):
            some = {"stream": stream, "devices": ids[first : first + _AT_A_TIME]}
            with transaction(dsn) as conn:
                # Who registers devices meanwhile would expect them again from what it has read.
                conn.execute(query("lock_devices"))
                conn.execute(query(remove_live_state), some)
                for name in _REMOVALS:
                    conn.execute(query(name), some)
                rows = conn.execute(query("resolve_alerts_of_devices"), some)
                if resolved := [row["id"] for row in rows]:
                    conn.execute(query("lock_alert_events"))
                    types = ["resolved"] * len(resolved)
                    told = {"ids": resolved, "types": types, "by": None}
                    conn.execute(query("insert_alert_events"), told)
                    conn.execute(query("notify_alert_events"))
            removed += len(some["devices"])
            alerts += len(resolved)
    return RemovedDevices(removed, alerts)


def _like(pattern: str) -> str:
    plain = re.sub(r"[\\%_]", r"\\\g<0>", pattern)
    return plain.replace("*", "%").replace("?", "_")


def _corrected(before: dict[str, Any], told: DeviceUpdate) -> dict[str, Any]:
    return before | told.attributes.model_dump(exclude_unset=True)


def _changed_hours(
    before: dict[str, Any], after: dict[str, Any]
) -> Iterator[tuple[datetime, datetime | None]]:
    """Ranges of the hours' starts, None: for good, in which the change makes a difference."""
    if before["first_heard_at"] is None:  # no hour that was computed knows the device
        return
    first = before["first_heard_at"].replace(minute=0, second=0, microsecond=0)
    if any(after[name] != before[name] for name in ("charger_class", "cadence_seconds")):
        yield first, None
    was, now = before["retired_at"] or _END, after["retired_at"] or _END
    since, until = max(min(was, now), first), max(was, now)
    if since < until:
        yield since, None if until == _END else until
