"""Performance of a vehicle: its energies, their ratio, and the evidence for it."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Response
from pydantic import Field

from ingestion_api.analytics.performance.compute import Performance
from ingestion_api.analytics.performance.vehicle_context import UnknownVehicle
from ingestion_api.rest.etags import (
    NOT_MODIFIED,
    IfNoneMatch,
    etag_headers,
    etag_matches,
    not_modified,
)
from ingestion_api.rest.models import Answer
from ingestion_api.rest.parameters import BadWindow, End, PathId, Period, Start
from ingestion_api.rest.problems import Problem, problem_responses
from ingestion_api.routes.efficiency import Status
from ingestion_api.routes.live import unknown_device
from ingestion_api.services import ServicesDep
from lake import EnergySettings
from lake.energy import REASONS

router = APIRouter(prefix="/v1/analytics", tags=["performance"])


class DataPoints(Answer):
    """Heartbeats in the window, duplicates not counted."""

    vehicle: int
    meter: int


class Energies(Answer):
    """Energies of each side, kWh."""

    ac: float
    dc: float


class Counts(Answer):
    """Counts of each side."""

    ac: int
    dc: int


class Reason(Answer):
    """Reason of a status."""

    code: str
    text: str = Field(description="a sentence for people")


class Sides(Answer):
    """A share of each side, 0-1."""

    ac: float | None
    dc: float | None


class LinkInWindow(Answer):
    """A meter that fed the vehicle, clipped to the window."""

    meter_id: str
    valid_from: datetime
    valid_to: datetime
    source: str = Field(description="link, heartbeat (the vehicle named it), or rule")


class VehiclePerformance(Answer):
    """Energy and efficiency of a vehicle in a window."""

    vehicle_id: str
    period: Period
    energy_consumed_ac: float | None = Field(description="kWh drawn from the grid by its meters")
    energy_delivered_dc: float | None = Field(description="kWh delivered to its battery")
    efficiency_ratio: float | None = Field(
        description="percent, the energy delivered by the energy consumed, whenever they flowed and"
        " never clamped; null where nearly nothing was consumed. What is rated is efficiencyPercent"
    )
    matched_energy_ac_kwh: float | None = Field(
        description="AC energy that flowed while the DC energy was known"
    )
    matched_energy_dc_kwh: float | None = Field(
        description="DC energy that flowed while the AC energy was known"
    )
    efficiency_percent: float | None = Field(
        description="matched DC by matched AC energy; null where that says nothing, see reason"
    )
    average_battery_temp: float | None = Field(description="degrees Celsius")
    data_points: DataPoints
    status: Status
    reason: Reason
    coverage: Sides = Field(description="share of the window that each side's readings cover")
    matched_share: Sides = Field(
        description="share of each side's energy in time that the other side covers"
    )
    unplaced_energy: Energies = Field(
        description="part of both energies that came after a silence: nobody knows when it flowed"
    )
    left_out: Counts = Field(description="readings that are not believed")
    left_out_energy: Energies = Field(description="what they would add")
    conflicts: Counts = Field(description="times with two energies that can't be told apart")
    longest_gap_seconds: float | None
    resets: int = Field(description="registers that restarted")
    duplicates: int = Field(description="copies of heartbeats that were removed")
    links: list[LinkInWindow]


@router.get(
    "/performance/{vehicle_id:path}",
    response_model=VehiclePerformance,
    responses={**problem_responses(404, 422, 503), **NOT_MODIFIED},
    name="Performance of a vehicle",
)
async def vehicle_performance(
    vehicle_id: PathId,
    services: ServicesDep,
    response: Response,
    start: Start = None,
    end: End = None,
    if_none_match: IfNoneMatch = None,
) -> VehiclePerformance | Response:
    """Exact sums of a window, by default the last 24 hours, with every acknowledged heartbeat.

    Without `end` the window ends now, or just after the newest heartbeat if a device's clock is
    ahead. A window may have 31 days. With `end` the answer has an ETag, which changes when late
    heartbeats, links or settings change the answer; with `If-None-Match` it is 304 until then.
    """
    try:
        if end is None:
            return performance_answer(
                vehicle_id,
                await services.performance.performance_for(vehicle_id, start, end),
                services.energy,
            )
        tag, found = await services.performance.if_changed(
            vehicle_id, start, end, lambda tag: etag_matches(tag, if_none_match)
        )
    except UnknownVehicle:
        raise unknown_device("vehicle", vehicle_id) from None
    except BadWindow as error:
        raise Problem(422, str(error)) from None
    if found is None:
        return not_modified(tag)
    response.headers.update(etag_headers(tag))
    return performance_answer(vehicle_id, found, services.energy)


_NOTHING: dict[str, Any] = {
    "energy_ac_kwh": None,
    "energy_dc_kwh": None,
    "matched_energy_ac_kwh": None,
    "matched_energy_dc_kwh": None,
    "efficiency_percent": None,
    "average_battery_temp": None,
    "data_points_vehicle": 0,
    "data_points_meter": 0,
    "status": "unmapped",
    "reason": "no_link",
    "coverage_ac": 0.0,
    "coverage_dc": 0.0,
    "matched_share_ac": None,
    "matched_share_dc": None,
    "longest_gap_seconds": None,
    "resets": 0,
    "duplicates": 0,
    **{
        name.format(side): nothing
        for side in ("ac", "dc")
        for name, nothing in (
            ("unplaced_energy_{}_kwh", 0.0),
            ("left_out_{}", 0),
            ("left_out_energy_{}_kwh", 0.0),
            ("conflicts_{}", 0),
        )
    },
}


def performance_answer(
    vehicle_id: str, found: Performance, energy: EnergySettings
) -> VehiclePerformance:
    """Return the answer about the performance of a vehicle."""
    row = found.row or _NOTHING
    return VehiclePerformance(
        vehicle_id=vehicle_id,
        period=found.period,
        energy_consumed_ac=row["energy_ac_kwh"],
        energy_delivered_dc=row["energy_dc_kwh"],
        efficiency_ratio=_ratio(row["energy_ac_kwh"], row["energy_dc_kwh"], energy),
        matched_energy_ac_kwh=row["matched_energy_ac_kwh"],
        matched_energy_dc_kwh=row["matched_energy_dc_kwh"],
        efficiency_percent=row["efficiency_percent"],
        average_battery_temp=row["average_battery_temp"],
        data_points=DataPoints(vehicle=row["data_points_vehicle"], meter=row["data_points_meter"]),
        status=row["status"],
        reason=Reason(code=row["reason"], text=REASONS[row["reason"]]),
        coverage=Sides(ac=row["coverage_ac"], dc=row["coverage_dc"]),
        matched_share=Sides(ac=row["matched_share_ac"], dc=row["matched_share_dc"]),
        unplaced_energy=Energies(
            ac=row["unplaced_energy_ac_kwh"], dc=row["unplaced_energy_dc_kwh"]
        ),
        left_out=Counts(ac=row["left_out_ac"], dc=row["left_out_dc"]),
        left_out_energy=Energies(
            ac=row["left_out_energy_ac_kwh"], dc=row["left_out_energy_dc_kwh"]
        ),
        conflicts=Counts(ac=row["conflicts_ac"], dc=row["conflicts_dc"]),
        longest_gap_seconds=row["longest_gap_seconds"],
        resets=row["resets"],
        duplicates=row["duplicates"],
        links=[LinkInWindow(**link) for link in found.links],
    )


def _ratio(ac: float | None, dc: float | None, energy: EnergySettings) -> float | None:
    """DC by AC energy in percent; of next to no energy, as in standby, it would say nothing."""
    if ac is None or dc is None or ac <= 0 or ac < energy.idle_below_kwh:
        return None
    return round(100 * dc / ac, 9)
