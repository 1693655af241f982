"""Depots and the devices that belong to them, and the time zones that reports are in."""

from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import psycopg

from lake.reports import Scope
from warehouse_sql.named_queries import query


@dataclass(frozen=True)
class Depot:
    """A place where chargers stand and vehicles are at home; without a zone it has the fleet's."""

    id: str
    name: str | None = None
    time_zone: str | None = None


@dataclass(frozen=True)
class Places:
    """All depots by id, and the depots of the meters and vehicles that have one, by their ids."""

    fleet_zone: str
    depots: Mapping[str, Depot]
    meters: Mapping[str, str]
    vehicles: Mapping[str, str]

    @property
    def scopes(self) -> list[Scope]:
        """The fleet, and each depot to which a meter belongs."""
        return [Scope(), *(Scope(depot) for depot in sorted(set(self.meters.values())))]

    def zone(self, scope: Scope) -> ZoneInfo:
        """Return the time zone of a report's days."""
        own = self.depots[scope.depot].time_zone if scope.depot is not None else None
        return ZoneInfo(own or self.fleet_zone)

    def name(self, scope: Scope) -> str:
        """Return what people call it."""
        if scope.depot is None:
            return "The fleet"
        return self.depots[scope.depot].name or f"Depot {scope.depot}"


def read_places(connection: psycopg.Connection, fleet_zone: str) -> Places:
    """Read the depots and what belongs to them now."""
    depots = [Depot(*row) for row in connection.execute(query("zones_of_depots"))]
    asked = {"depots": None, "groups": None}
    belonging: dict[str, dict[str, str]] = {"meter": {}, "vehicle": {}}
    for stream, device, depot, _ in connection.execute(query("devices_within"), asked):
        if depot is not None:
            belonging[stream][device] = depot
    return Places(
        fleet_zone, {depot.id: depot for depot in depots}, belonging["meter"], belonging["vehicle"]
    )
