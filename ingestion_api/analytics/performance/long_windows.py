"""Facts of long windows: those of whole days are kept, and merged with those of the edges.

The facts of windows that follow one another add up, so a day's are computed once and hold until
something that they rest on is another: the files of the history in which its heartbeats and their
context lie, heartbeats that wait there for their compaction, links and classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

from ingestion_api.analytics.performance.readings import known_links, read_ahead, read_vehicles
from ingestion_api.analytics.performance.sources import Device, Waiting, files_of
from ingestion_api.analytics.performance.vehicle_context import LINKS_AROUND, Told, VehicleContext
from ingestion_api.rest.parameters import Period
from lake import DAY, METER, VEHICLE, EnergySettings
from lake.energy import FactsOfFew, Link, facts_of_few, merged_few, rows_of_few
from lake.reads import LakeSnapshot, LruCache, Reach

_LONG: Final = 3 * DAY  # of shorter ones the edges are most
_TICK: Final = timedelta(microseconds=1)
_BYTES_A_DAY: Final = 2_500
_BYTES_A_FILE: Final = 8  # all days have the same names


@dataclass(frozen=True)
class _Day:
    """Facts of a vehicle's day, and what they rest on."""

    facts: FactsOfFew
    links: Sequence[Link]
    told: Told
    reach: Mapping[Device, Reach]
    files: Mapping[Device, Sequence[str]]

    @property
    def bytes(self) -> int:
        """About the memory that it takes."""
        return _BYTES_A_DAY + _BYTES_A_FILE * sum(map(len, self.files.values()))

    def holds(
        self,
        view: LakeSnapshot,
        waiting: Waiting,
        links: Sequence[Link],
        told: Told,
    ) -> bool:
        """Tell whether the facts are what they would be if they were computed now."""
        return (
            self.links == links
            and self.told == told
            and self.files == files_of(view, self.reach)
            and not any(waiting.any_of(device, *time) for device, time in self.reach.items())
        )


class LongWindows:
    """Rows of vehicles over long windows; safe between threads. Keeps about `max_bytes` of days."""

    def __init__(self, energy: EnergySettings, max_bytes: int) -> None:
        self._energy = energy
        self._days: LruCache[tuple[str, datetime, bool], _Day] = LruCache(max_bytes)

    def performance_of(
        self, view: LakeSnapshot, context: VehicleContext
    ) -> tuple[dict[str, Any] | None, list[Link]] | None:
        """Return the row of the one vehicle asked for, if any, and its links, from facts of days.

        None where its readings have to be seen at once: of a short window, where heartbeats name
        meters, and where phases of a meter come and go. A day at the end of the window is kept by
        itself, for what comes later than a day after the window is no context of it.
        """
        (vehicle,) = context.asked
        start, end = context.period.start, context.period.end
        if end - start < _LONG:
            return None
        links, waiting = known_links(context), Waiting(context)
        # Not those of others that are asked for at the same time.
        meters = {link.meter_id for link in links}
        told = context.told_of({(VEHICLE.name, vehicle), *((METER.name, name) for name in meters)})
        first, last = _midnight(start + DAY - _TICK), _midnight(end)
        days = [first + n * DAY for n in range((last - first) // DAY)]
        parts: dict[datetime, FactsOfFew] = {}
        for day in days:
            kept = self._days.get((vehicle, day, day + DAY == end))
            around = _around(links, day, day + DAY)
            if kept and kept.holds(view, waiting, around, told):
                parts[day] = kept.facts
        missing = [day for day in days if day not in parts]
        if len(missing) > 1:
            read_ahead(view, context, Period(start=missing[0], end=missing[-1] + DAY), links)
        edges = [(start, first), (last, end)]
        for since, until in [*edges, *((day, day + DAY) for day in missing)]:
            if since == until:
                continue
            around = _around(links, since, until)
            period = Period(start=since, end=until)
            found = read_vehicles(view, context, self._energy, period, around)
            if found.names_any or not found.lasting:
                return None
            parts[since] = facts_of_few(found.ac, found.dc, around, since, until)
            if until - since == DAY:
                files = files_of(view, found.reach)
                day_facts = _Day(parts[since], around, told, found.reach, files)
                if day_facts.holds(view, waiting, around, told):
                    self._days.put((vehicle, since, until == end), day_facts)
        facts = merged_few([parts[since] for since in sorted(parts)], start, end)
        return rows_of_few(facts, links, told.charger_classes, self._energy).get(vehicle), links


def _midnight(moment: datetime) -> datetime:
    return datetime.combine(moment.astimezone(UTC), time(), UTC)


def _around(links: Sequence[Link], start: datetime, end: datetime) -> list[Link]:
    """The links that a window and its context have to do with, cut to that time."""
    since, until = start - LINKS_AROUND, end + LINKS_AROUND
    return [
        link._replace(valid_from=max(link.valid_from, since), valid_to=min(link.valid_to, until))
        for link in links
        if link.valid_from < until and link.valid_to > since
    ]
