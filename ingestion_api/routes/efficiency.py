"""The published hourly efficiency, as the lake's tables hold it."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from ingestion_api.parameters import (
    Answer,
    BadWindow,
    End,
    OptionalVehicleId,
    Period,
    Shared,
    Start,
    window,
)
from ingestion_api.problems import Problem, documented
from ingestion_api.services import Services
from warehouse_sql.queries import query

Status = Literal[
    "excellent",
    "good",
    "warning",
    "critical",
    "idle",
    "insufficient_data",
    "unmapped",
    "implausible",
]
Limit = Annotated[int, Query(ge=1, le=10_000, description="most rows in the answer")]

router = APIRouter(prefix="/v1/analytics/efficiency", tags=["efficiency"])


class FleetHour(Answer):
    """Energy and efficiency of the fleet in a UTC hour."""

    hour_start: datetime
    energy_ac_kwh: float
    energy_dc_kwh: float
    rated_energy_ac_kwh: float = Field(description="AC energy of the vehicles that have a ratio")
    rated_energy_dc_kwh: float = Field(description="DC energy of the vehicles that have a ratio")
    loss_kwh: float
    efficiency_percent: float | None
    unlinked_energy_ac_kwh: float = Field(description="AC energy of meters that feed no vehicle")
    vehicles: int
    vehicles_excellent: int
    vehicles_good: int
    vehicles_warning: int
    vehicles_critical: int
    vehicles_idle: int
    vehicles_insufficient_data: int
    vehicles_unmapped: int
    vehicles_implausible: int


class VehicleHour(Answer):
    """Energy and efficiency of a vehicle in a UTC hour."""

    hour_start: datetime
    vehicle_id: str
    energy_ac_kwh: float | None
    energy_dc_kwh: float | None
    loss_kwh: float | None
    efficiency_percent: float | None
    status: Status
    charger_class: str | None = Field(description="class of the charger, whose limits count")
    data_points_meter: int
    data_points_vehicle: int
    coverage_ac: float = Field(description="share of the hour that meter readings cover, 0-1")
    coverage_dc: float = Field(description="share of the hour that vehicle readings cover, 0-1")
    matched_share_ac: float | None = Field(description="share of the AC energy, 0-1")
    matched_share_dc: float | None = Field(description="share of the DC energy, 0-1")
    longest_gap_seconds: float
    resets: int
    duplicates: int
    average_battery_temp: float | None
    link_source: str | None = Field(description="link, heartbeat or rule")
    meter_ids: list[str]


class FleetHours(Answer):
    """Hours of the fleet, newest first."""

    period: Period
    rows: list[FleetHour]
    truncated: bool = Field(description="true if there are more rows than `limit`")


class VehicleHours(Answer):
    """Hours of vehicles, newest first, then by vehicle."""

    period: Period
    rows: list[VehicleHour]
    truncated: bool = Field(description="true if there are more rows than `limit`")


@router.get("/fleet", responses=documented(422, 503), name="Efficiency of the fleet by hour")
async def fleet_efficiency(
    services: Shared, start: Start = None, end: End = None, limit: Limit = 1000
) -> FleetHours:
    """Hours that start in the window, by default the last 24 hours, newest first."""
    period = _period(services, start, end)
    async with services.pool.connection() as conn:
        cursor = await conn.execute(
            query("fleet_efficiency_page"),
            {"start": period.start, "end": period.end, "limit": limit + 1},
        )
        rows = await cursor.fetchall()
    return FleetHours(
        period=period,
        rows=[FleetHour(**row) for row in rows[:limit]],
        truncated=len(rows) > limit,
    )


@router.get("/vehicles", responses=documented(422, 503), name="Efficiency of vehicles by hour")
async def vehicle_efficiency(
    services: Shared,
    start: Start = None,
    end: End = None,
    vehicle_id: OptionalVehicleId = None,
    status: Annotated[Status | None, Query(description="only hours of this status")] = None,
    limit: Limit = 1000,
) -> VehicleHours:
    """Hours that start in the window, by default the last 24 hours, newest first."""
    period = _period(services, start, end)
    async with services.pool.connection() as conn:
        cursor = await conn.execute(
            query("vehicle_efficiency_page"),
            {
                "start": period.start,
                "end": period.end,
                "vehicle_id": vehicle_id,
                "status": status,
                "limit": limit + 1,
            },
        )
        rows = await cursor.fetchall()
    return VehicleHours(
        period=period,
        rows=[VehicleHour(**row) for row in rows[:limit]],
        truncated=len(rows) > limit,
    )


def _period(services: Services, start: datetime | None, end: datetime | None) -> Period:
    try:
        return window(start, end, services.now(), services.settings.longest_window_days)
    except BadWindow as error:
        raise Problem(422, str(error)) from None
