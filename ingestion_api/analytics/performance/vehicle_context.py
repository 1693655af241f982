"""The context of vehicles in a window: all that Postgres knows of them at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl
import pyarrow as pa

from ingestion_api.database.dedicated_connection import Row
from ingestion_api.rest.etags import fingerprint
from ingestion_api.rest.parameters import BadWindow, Period
from lake import STREAMS, EnergySettings, hour_of
from lake.energy import CHARGER_CLASSES, PAIR
from lake.reads import LakeSnapshot

_TIME: Final = pl.Datetime("us", "UTC")
_LINKS: Final = {**PAIR, "valid_from": _TIME, "valid_to": _TIME}


class UnknownVehicle(Exception):
    """No heartbeat of this vehicle was ever received."""


@dataclass(frozen=True)
class VehicleContext:
    """Requested vehicles of one window, with what is known of them and their meters.

    Heartbeats of `vehicles` and `meters` that are not in the lake yet are in `outbox`.
    """

    asked: list[str]
    period: Period
    vehicles: list[str]
    meters: list[str]
    links: list[Row]
    """Explicit ones of the window and of the largest gap before it, with meter_id, vehicle_id,
    valid_from and valid_to (None: open)."""
    pairs: Mapping[str, str]
    """The meter of a vehicle by the rule."""
    linked_to: Mapping[str, set[str]]
    """The vehicles that a meter was ever linked to, or that named it."""
    charger_classes: Mapping[str, str]
    dirty_hours: Mapping[str, set[datetime]]
    outbox: Mapping[str, pa.Table]

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
        """The classes as `measured_energy` takes them."""
        classes = [*self.charger_classes.items()]
        return pl.DataFrame(classes, schema=CHARGER_CLASSES, orient="row")

    def fingerprint(self, view: LakeSnapshot, energy: EnergySettings) -> str:
        """Another text whenever the answer may be another: all that it rests on, as a hash."""
        since = context_start(self.period, energy)
        told: list[Any] = [
            self.asked,
            self.period,
            energy.model_dump_json(),
            *(sorted(map(repr, known)) for known in (self.links, self.pairs.items())),
            sorted(self.charger_classes.items()),
        ]
        for stream in STREAMS.values():
            dirty, waiting = self.dirty_hours[stream.name], self.outbox[stream.name]
            dirty = dirty | {hour_of(row["timestamp"]) for row in waiting.to_pylist()}
            told += [view.file_paths(stream, since, self.period.end, dirty), waiting.to_pylist()]
        return fingerprint(repr(told))


@dataclass(frozen=True)
class VehicleContexts:
    """Facts of all vehicles that have a window, and why the others have none."""

    contexts: list[VehicleContext]
    refused: Mapping[str, UnknownVehicle | BadWindow]


def context_start(period: Period, energy: EnergySettings) -> datetime:
    """Return the start of the read-back before a window."""
    return hour_of(period.start - timedelta(hours=energy.register_lookback_hours))
