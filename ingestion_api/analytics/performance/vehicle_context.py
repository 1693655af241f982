"""The context of vehicles in a window: all that Postgres knows of them at one moment."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import polars as pl
import pyarrow as pa

from ingestion_api.database.dedicated_connection import Row
from ingestion_api.rest.parameters import BadWindow, Period
from lake import DAY, HOUR, METER, Stream, hour_of
from lake.energy import CHARGER_CLASSES, PAIR
from lake.reads import Heard

_TIME: Final = pl.Datetime("us", "UTC")
# A reading that crosses an edge of the window is cut by the links of its time beyond.
LINKS_AROUND: Final = DAY

_TICK: Final = timedelta(microseconds=1)
_LINKS: Final = {**PAIR, "valid_from": _TIME, "valid_to": _TIME}


class Told(NamedTuple):
    """Attributes of devices, told by people, that their energies depend on."""

    charger_classes: Mapping[str, str]
    cadences: Mapping[tuple[str, str], float]


class UnknownVehicle(Exception):
    """No heartbeat of this vehicle was ever received."""


@dataclass(frozen=True)
class VehicleContext:
    """Requested vehicles of one window, with what is known of them and their meters.

    Heartbeats of `vehicles` and `meters` that are not in the lake yet are in `outbox`, of any time:
    how far the context of the window reaches is seen in the lake.
    """

    asked: list[str]
    period: Period
    vehicles: list[str]
    meters: list[str]
    links: list[Row]
    """Explicit ones of the window and LINKS_AROUND it, with meter_id, vehicle_id, valid_from and
    valid_to (None: open).
    """
    pairs: Mapping[str, str]
    """The meter of a vehicle by the rule."""
    linked_to: Mapping[str, set[str]]
    """The vehicles that a meter was ever linked to, or that named it."""
    charger_classes: Mapping[str, str]
    cadences: Mapping[tuple[str, str], float]
    """How often devices send as people say, seconds, by kind and id."""
    heard: Mapping[tuple[str, str], Heard]
    """When a device was heard, by kind and id."""
    dirty_hours: Mapping[str, set[datetime]]
    outbox: Mapping[str, pa.Table]

    def only(self, asked: list[str]) -> "VehicleContext":
        """Return the context of some of the vehicles asked for, without what is of others."""
        if asked == self.asked:
            return self
        pairs = {vehicle: self.pairs[vehicle] for vehicle in asked if vehicle in self.pairs}
        own = {
            meter
            for meter, linked in self.linked_to.items()
            if meter in pairs.values() or not linked.isdisjoint(asked)
        }
        near = set(asked).union(*(self.linked_to[meter] for meter in own))
        return replace(
            self,
            asked=asked,
            vehicles=[vehicle for vehicle in self.vehicles if vehicle in near],
            meters=[meter for meter in self.meters if meter in own],
            links=[
                link for link in self.links if link["meter_id"] in own or link["vehicle_id"] in near
            ],
            pairs=pairs,
        )

    def told_of(self, devices: Collection[tuple[str, str]]) -> Told:
        """Return what people say of some devices, by kind and id."""
        meters = {device for kind, device in devices if kind == METER.name}
        return Told(
            {meter: name for meter, name in self.charger_classes.items() if meter in meters},
            {device: told for device, told in self.cadences.items() if device in devices},
        )

    def cadences_of(self, stream: Stream) -> Mapping[str, float]:
        """Return how often devices of a stream send as people say, seconds, by id."""
        return {
            device: told for (kind, device), told in self.cadences.items() if kind == stream.name
        }

    @property
    def link_table(self) -> pl.DataFrame:
        """The links as `resolve_links` takes them."""
        return pl.DataFrame(self.links, schema=_LINKS)

    @property
    def pair_table(self) -> pl.DataFrame:
        """The pairs as `resolve_links` takes them."""
        pairs = [(meter, vehicle) for vehicle, meter in self.pairs.items()]
        return pl.DataFrame(pairs, schema=PAIR, orient="row")

    @property
    def class_table(self) -> pl.DataFrame:
        """The classes as the mathematics takes them."""
        classes = [*self.charger_classes.items()]
        return pl.DataFrame(classes, schema=CHARGER_CLASSES, orient="row")

    @property
    def around(self) -> tuple[datetime, datetime]:
        """The hours of the window and LINKS_AROUND them."""
        hours = hours_of(self.period)
        return hours.start - LINKS_AROUND, hours.end + LINKS_AROUND


def hours_of(period: Period) -> Period:
    """Return the whole hours that a window lies in: those of one hour rest on the same readings."""
    return Period(start=hour_of(period.start), end=hour_of(period.end + HOUR - _TICK))


@dataclass(frozen=True)
class VehicleContexts:
    """Facts of all vehicles that have a window, and why the others have none."""

    contexts: list[VehicleContext]
    refused: Mapping[str, UnknownVehicle | BadWindow]
