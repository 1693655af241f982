"""The tables of several hours in one go: nearly all that a small hour costs are its plans.

The devices of an hour say nothing about those of another. So here each hour has devices of its own
name, and the times of all are moved into the first: what is computed is one hour of many devices.
That changes no number, because none depends on what an hour or a device is called, but for the
order of the ids, which stays, and because sums are exact.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from lake.energy.fleet import fleet_efficiency
from lake.health.grid import grid_health
from lake.rollups.hour import (
    HourInputs,
    Tables,
    cadences_of_hour,
    completeness_of_hours,
    devices_of_hour,
    efficiency_of_hour,
    health_of_hour,
)
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_HOURLY
from lake.schema.charging_stretch import CHARGING_STRETCH_HOURLY
from lake.schema.completeness import HEARTBEAT_COMPLETENESS_HOURLY
from lake.schema.grid_health import GRID_HEALTH_HOURLY
from lake.schema.streams import METER, STREAMS, VEHICLE
from lake.schema.vehicle_efficiency import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY
from lake.settings import EnergySettings

_DIGITS: Final = 4  # of the number of an hour, which an id begins with
_TIME: Final = pl.Datetime("us", "UTC")


def tables_of_hours(hours: Sequence[HourInputs], settings: EnergySettings) -> list[Tables]:
    """Compute `efficiency_of_hour` and `health_of_hour` for each of several hours at once.

    Several are in memory at once, so let them be small.
    """
    if len(hours) == 1:
        return [{**efficiency_of_hour(hours[0], settings), **health_of_hour(hours[0], settings)}]
    starts = pl.Series("hour_start", [one.start for one in hours], _TIME)
    together = _together(hours)
    of_vehicles, of_chargers, stretches = devices_of_hour(together, settings)
    grid = grid_health(together.meters, together.charger_classes, *together.window, settings)
    of_vehicles = _renamed(of_vehicles, starts, VEHICLE.device, "meter_ids")
    of_chargers = _renamed(of_chargers, starts, METER.device, "vehicle_ids")
    fleet = fleet_efficiency(of_vehicles.lazy(), of_chargers.lazy()).collect()
    tables = {
        VEHICLE_EFFICIENCY_HOURLY.name: of_vehicles,
        CHARGER_EFFICIENCY_HOURLY.name: of_chargers,
        FLEET_EFFICIENCY_HOURLY.name: fleet,
        CHARGING_STRETCH_HOURLY.name: _renamed(stretches, starts, VEHICLE.device, "meter_ids"),
        GRID_HEALTH_HOURLY.name: _renamed(grid.collect(), starts, METER.device),
        HEARTBEAT_COMPLETENESS_HOURLY.name: pl.concat(
            completeness_of_hours(hours, _cadences(together, starts, settings), settings)
        ),
    }
    by_hour = {
        name: rows.partition_by("hour_start", as_dict=True, maintain_order=True)
        for name, rows in tables.items()
    }
    return [
        {name: by_hour[name].get((start,), rows.clear()) for name, rows in tables.items()}
        for start in starts
    ]


def _cadences(
    together: HourInputs, starts: pl.Series, settings: EnergySettings
) -> list[dict[str, pl.DataFrame]]:
    """What `cadences_of_hour` returns, of each hour."""
    found: list[dict[str, pl.DataFrame]] = [{} for _ in starts]
    for name, rows in cadences_of_hour(together, settings).items():
        renamed = _renamed(rows, starts, STREAMS[name].device)
        by_hour = renamed.partition_by("hour_start", as_dict=True, include_key=False)
        for of_hour, start in zip(found, starts, strict=True):
            of_hour[name] = by_hour.get((start,), rows.clear())
    return found


def _together(hours: Sequence[HourInputs]) -> HourInputs:
    return HourInputs(
        start=hours[0].start,
        meters=_joined(hours, [one.meters for one in hours], [METER.device], ["timestamp"]),
        vehicles=_joined(hours, [one.vehicles for one in hours], [VEHICLE.device], ["timestamp"]),
        links=_joined(
            hours,
            [one.links for one in hours],
            [METER.device, VEHICLE.device],
            ["valid_from", "valid_to"],
        ),
        charger_classes=_joined(hours, [one.charger_classes for one in hours], [METER.device], []),
        expected={},
    )


def _joined(
    hours: Sequence[HourInputs],
    of_hours: Sequence[pl.LazyFrame],
    ids: Sequence[str],
    times: Sequence[str],
) -> pl.LazyFrame:
    """The rows of all hours, with the hour's number in their ids, and times in the first hour."""
    frames = pl.collect_all(of_hours)
    hour = np.repeat(np.arange(len(hours)), [frame.height for frame in frames])
    number = pl.Series([f"{n:0{_DIGITS}}" for n in range(len(hours))], dtype=pl.String)[hour]
    ahead = pl.Series([one.start - hours[0].start for one in hours], dtype=pl.Duration("us"))[hour]
    return (
        pl.concat(frames)
        .with_columns(
            *((pl.lit(number) + pl.col(name)).alias(name) for name in ids),
            *(pl.col(name) - pl.lit(ahead) for name in times),
        )
        .lazy()
    )


def _hour(starts: pl.Series, device: str) -> pl.Expr:
    """The hour of a device, by the number in its id."""
    return pl.lit(starts).gather(pl.col(device).str.head(_DIGITS).cast(pl.Int64))


def _renamed(rows: pl.DataFrame, starts: pl.Series, device: str, *lists: str) -> pl.DataFrame:
    """The rows with the names that their devices have, their hours, and times in these."""
    name = pl.element().str.slice(_DIGITS)
    hour, moved = _hour(starts, device), pl.col(_TIME).exclude("hour_start")
    return rows.with_columns(
        pl.col(device).str.slice(_DIGITS),
        *(pl.col(ids).list.eval(name) for ids in lists),
        moved + (hour - pl.lit(starts[0])),
        hour_start=hour,
    )
