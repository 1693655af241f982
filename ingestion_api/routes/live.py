"""Live state of a device: its newest heartbeat by event time."""

from datetime import datetime
from typing import Any, Final, Literal
from urllib.parse import quote

from fastapi import APIRouter
from pydantic import Field

from ingestion_api.database.dedicated_connection import Row
from ingestion_api.rest.models import Answer
from ingestion_api.rest.parameters import PathId
from ingestion_api.rest.problems import Problem, problem_responses
from ingestion_api.services import Services, ServicesDep

Kind = Literal["meter", "vehicle"]
Connection = Literal["online", "late", "silent"]

_OTHER: Final[dict[Kind, Kind]] = {"meter": "vehicle", "vehicle": "meter"}

router = APIRouter(prefix="/v1/analytics", tags=["live state"])


class LiveMeter(Answer):
    """The newest heartbeat of a meter."""

    meter_id: str
    timestamp: datetime = Field(description="event time of its newest heartbeat")
    kwh_consumed_ac: float | None = Field(description="kWh as sent, see readingType")
    voltage: float | None = Field(description="volt")
    reading_type: str
    interval_seconds: float | None = Field(
        description="declared time in which the energy flowed, seconds"
    )
    cadence_seconds: float = Field(
        description="time between two heartbeats: declared by the newest, of the charger's class, "
        "measured, or nominal; seconds"
    )
    phase: str | None = Field(
        description="phase of this heartbeat: of several at one time the last received; null: all"
    )
    received_at: datetime
    last_updated_at: datetime = Field(description="when this state last changed")
    age_seconds: float = Field(description="time since the event")
    connection: Connection = Field(description="whether it still reports as expected")


class LiveVehicle(Answer):
    """The newest heartbeat of a vehicle."""

    vehicle_id: str
    timestamp: datetime = Field(description="event time of its newest heartbeat")
    soc: float | None = Field(description="state of charge, percent")
    kwh_delivered_dc: float | None = Field(description="kWh as sent, see readingType")
    battery_temp: float | None = Field(description="degrees Celsius")
    meter_id: str | None = Field(description="the meter it says it charges from")
    reading_type: str
    interval_seconds: float | None = Field(
        description="declared time in which the energy flowed, seconds"
    )
    cadence_seconds: float = Field(
        description="time between two heartbeats: declared by the newest, of the charger's class, "
        "measured, or nominal; seconds"
    )
    received_at: datetime
    last_updated_at: datetime = Field(description="when this state last changed")
    age_seconds: float = Field(description="time since the event")
    connection: Connection = Field(description="whether it still reports as expected")


@router.get(
    "/meter/{meter_id:path}/live",
    responses=problem_responses(404, 422, 503),
    name="Live state of a meter",
)
async def live_meter(meter_id: PathId, services: ServicesDep) -> LiveMeter:
    """The newest heartbeat of a meter by event time, with its age."""
    return LiveMeter(**await _live(services, "meter", meter_id))


@router.get(
    "/vehicle/{vehicle_id:path}/live",
    responses=problem_responses(404, 422, 503),
    name="Live state of a vehicle",
)
async def live_vehicle(vehicle_id: PathId, services: ServicesDep) -> LiveVehicle:
    """The newest heartbeat of a vehicle by event time, with its age."""
    return LiveVehicle(**await _live(services, "vehicle", vehicle_id))


async def _live(services: Services, kind: Kind, device: str) -> dict[str, Any]:
    row = await services.live_states.get(kind, device)
    if row is None:
        raise unknown_device(kind, device)
    return live_fields(services, row, services.now())


def unknown_device(kind: Kind, device: str) -> Problem:
    """404 with a hint."""
    return Problem(
        404,
        f"no heartbeat of {kind} {device} was ever received; GET /v1/analytics/devices?idContains="
        f"{quote(device, safe='')} finds it in other letter case or as a {_OTHER[kind]}, and "
        f"GET /v1/analytics/fleet/live?kind={kind} lists those that are known",
    )


def live_fields(services: Services, row: Row, now: datetime) -> dict[str, Any]:
    """The fields of LiveMeter or LiveVehicle from a row of live state."""
    # A device's clock may be ahead by the tolerance; its heartbeat is not younger than new.
    age = max(0.0, (now - row["timestamp"]).total_seconds())
    cadence = cadence_seconds(services, row)
    flag = connection_flag(services, row["timestamp"], cadence, now)
    fields = {**row, "cadence_seconds": cadence, "age_seconds": age, "connection": flag}
    # State changes with the heartbeat that is the newest from then on, at its receipt.
    fields["last_updated_at"] = row["received_at"]
    return {**fields, f"{row['kind']}_id": row["device_id"]}


def cadence_seconds(services: Services, row: Row) -> float:
    """The time between two heartbeats of a device, from a row of live state.

    What it declares of its energy, unless that is a mere sample of it.
    """
    declared: float | None = row["interval_seconds"]
    own: float = row["cadence_seconds"] or services.energy.nominal_interval_seconds
    return own if declared is None or 10 * declared < own else declared


def connection_flag(
    services: Services, heard: datetime, cadence: float, now: datetime
) -> Connection:
    """Return whether a device whose newest heartbeat is of `heard` still reports as expected.

    One that can't be believed is none: any that comes takes its place. The same as the function of
    Postgres of this name, whose parameters are `connection_limits`.
    """
    if heard > services.believed_until(now):
        return "silent"
    settings, age = services.settings, (now - heard).total_seconds()
    # One that sends more often is not late any sooner: its heartbeats may come several at once.
    cadence = max(cadence, services.energy.nominal_interval_seconds)
    if age <= settings.online_intervals * cadence:
        return "online"
    is_late = age <= max(settings.silent_after_seconds, settings.silent_intervals * cadence)
    return "late" if is_late else "silent"


def connection_limits(services: Services, now: datetime) -> dict[str, Any]:
    """The parameters of a query that asks for connections."""
    return {
        "now": now,
        "believed_until": services.believed_until(now),
        "nominal": services.energy.nominal_interval_seconds,
        "online_intervals": services.settings.online_intervals,
        "silent_after": services.settings.silent_after_seconds,
        "silent_intervals": services.settings.silent_intervals,
    }
