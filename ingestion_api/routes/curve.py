"""The curve of a vehicle over a window, for a screen."""

from datetime import datetime

import polars as pl
from fastapi import APIRouter
from pydantic import Field

from ingestion_api.analytics.performance.readings import read_vehicles
from ingestion_api.analytics.performance.vehicle_context import UnknownVehicle, VehicleContext
from ingestion_api.rest.models import Answer
from ingestion_api.rest.parameters import BadWindow, End, PathId, Period, Start
from ingestion_api.rest.problems import Problem, problem_responses
from ingestion_api.routes.live import unknown_device
from ingestion_api.services import ServicesDep
from lake import VEHICLE, EnergySettings
from lake.energy import curve_step, linked_sides, vehicle_curve
from lake.reads import LakeSnapshot

router = APIRouter(prefix="/v1/analytics", tags=["performance"])


class CurvePoint(Answer):
    """A step of the curve; null where nothing is known of it."""

    begins: datetime
    energy_ac_kwh: float | None
    energy_dc_kwh: float | None
    efficiency_percent: float | None = Field(
        description="null unless both sides cover the step and enough energy flowed"
    )
    soc: float | None = Field(description="mean state of charge, percent")
    battery_temp: float | None = Field(description="mean, degrees Celsius")


class VehicleCurve(Answer):
    """The curve of a vehicle; its energies add up to those of the same window's performance."""

    vehicle_id: str
    period: Period
    step_seconds: int = Field(description="length of a step; the first and last may be parts")
    points: list[CurvePoint] = Field(description="every step, the oldest first")


@router.get(
    "/vehicle/{vehicle_id:path}/curve",
    responses=problem_responses(404, 422, 503),
    name="Curve of a vehicle",
)
async def curve_of_vehicle(
    vehicle_id: PathId, services: ServicesDep, start: Start = None, end: End = None
) -> VehicleCurve:
    """Energy, efficiency, state of charge and temperature in at most 300 steps of a window.

    By default the last 24 hours in steps of 5 minutes, with every acknowledged heartbeat. The
    energy of a reading is spread over the time that it covers; where no reading covers a step, its
    values are null. A window may have 31 days.
    """

    def computed(view: LakeSnapshot, facts: VehicleContext) -> tuple[Period, pl.DataFrame]:
        return facts.period, _curve(view, facts, services.energy)

    try:
        period, rows = await services.performance.with_context(vehicle_id, start, end, computed)
    except UnknownVehicle:
        raise unknown_device("vehicle", vehicle_id) from None
    except BadWindow as error:
        raise Problem(422, str(error)) from None
    return VehicleCurve(
        vehicle_id=vehicle_id,
        period=period,
        step_seconds=int(curve_step(period.start, period.end).total_seconds()),
        points=[CurvePoint(**row) for row in rows.iter_rows(named=True)],
    )


def _curve(view: LakeSnapshot, facts: VehicleContext, energy: EnergySettings) -> pl.DataFrame:
    readings = read_vehicles(view, facts, energy)
    start, end = facts.period.start, facts.period.end
    dirty, outbox = facts.dirty_hours[VEHICLE.name], facts.outbox[VEHICLE.name]
    return vehicle_curve(
        linked_sides(readings.ac, readings.dc, readings.links, start, end),
        view.heartbeats(VEHICLE, facts.asked, start, end, dirty, outbox),
        start,
        end,
        curve_step(start, end),
        energy,
    )
