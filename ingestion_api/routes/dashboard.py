"""Dashboard: live state, today's efficiency and alerts of some vehicles in one request."""

from datetime import UTC, datetime, time
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Query
from psycopg.rows import DictRow
from pydantic import Field

from ingestion_api.alerts.models import Alert
from ingestion_api.rest.models import Answer
from ingestion_api.rest.problems import Problem, problem_responses
from ingestion_api.routes.device_filter import DeviceFilter, DeviceFilterDep, devices_within
from ingestion_api.routes.efficiency import Status
from ingestion_api.routes.live import LiveVehicle, live_fields
from ingestion_api.routes.live_fleet import MOST_IDS, DeviceId
from ingestion_api.services import Services, ServicesDep
from lake.energy import RATED, ratio_percent
from warehouse_sql.named_queries import query

router = APIRouter(prefix="/v1/analytics", tags=["overview"])


class Today(Answer):
    """The computed hours of the UTC day; GET /v1/analytics/performance is exact up to now."""

    hours: int = Field(description="hours of the day that are computed for the vehicle")
    last_hour: datetime | None = Field(description="start of the newest of them")
    last_status: Status | None = Field(description="status of the newest of them")
    energy_consumed_ac: float | None = Field(description="kWh of its meters in these hours")
    energy_delivered_dc: float | None = Field(description="kWh to its battery in these hours")
    rated_hours: int = Field(
        description="hours of them with a believable ratio, excellent to critical"
    )
    rated_energy_consumed_ac: float | None = Field(description="kWh of the rated hours alone")
    rated_energy_delivered_dc: float | None = Field(description="likewise")
    efficiency_ratio: float | None = Field(
        description="percent, DC by AC of the rated hours, never clamped; null without one"
    )


class DashboardVehicle(Answer):
    """A vehicle as it is, its day, and what is wrong with it."""

    live: LiveVehicle
    today: Today
    alerts: list[Alert] = Field(description="open ones, newest first")


class Dashboard(Answer):
    """The vehicles in the order of their ids."""

    at: datetime
    vehicles: list[DashboardVehicle]
    unknown: list[str] = Field(description="ids of which no heartbeat was ever received")


@router.get("/dashboard", responses=problem_responses(422, 503), name="Some vehicles at a glance")
async def dashboard(
    services: ServicesDep,
    where: DeviceFilterDep,
    vehicle_ids: Annotated[
        list[DeviceId] | None,
        Query(
            alias="vehicleIds",
            min_length=1,
            max_length=MOST_IDS,
            description="ids of vehicles; repeat it for each; left out: all of a depot or a group",
        ),
    ] = None,
) -> Dashboard:
    """Live state, today's efficiency and open alerts of many vehicles, of one moment."""
    now = services.now()
    midnight = datetime.combine(now.astimezone(UTC), time(), UTC)
    asked = await _asked(services, where, vehicle_ids)
    async with services.replica_pool.connection() as conn:
        rows = await conn.execute(
            query("dashboard"),
            {"vehicle_ids": asked, "start": midnight, "end": now, "rated": list(RATED)},
        )
        found = await rows.fetchall()
    percents = _percents(found)
    return Dashboard(
        at=now,
        vehicles=[
            DashboardVehicle(
                live=LiveVehicle(**live_fields(services, row, now)),
                today=Today(
                    hours=row["hours"],
                    last_hour=row["last_hour"],
                    last_status=row["last_status"],
                    energy_consumed_ac=row["energy_ac_kwh"],
                    energy_delivered_dc=row["energy_dc_kwh"],
                    rated_hours=row["rated_hours"],
                    rated_energy_consumed_ac=row["rated_energy_ac_kwh"],
                    rated_energy_delivered_dc=row["rated_energy_dc_kwh"],
                    efficiency_ratio=percent,
                ),
                alerts=[Alert(**alert) for alert in row["alerts"]],
            )
            for row, percent in zip(found, percents, strict=True)
        ],
        unknown=sorted(set(asked) - {row["device_id"] for row in found}),
    )


async def _asked(
    services: Services, where: DeviceFilter, vehicle_ids: list[str] | None
) -> list[str]:
    if not where.is_set:
        if vehicle_ids is None:
            raise Problem(422, "vehicleIds: is required where neither depot nor group is given")
        return sorted(set(vehicle_ids))
    placed = (await devices_within(services, where))["vehicle"]
    asked = placed if vehicle_ids is None else sorted({*vehicle_ids} & {*placed})
    if len(asked) > MOST_IDS:
        raise Problem(
            422,
            f"these are {len(asked):,} vehicles, and an answer has {MOST_IDS} at most: name some "
            "with vehicleIds; GET /v1/analytics/fleet/live has all by pages",
        )
    return asked


def _percents(rows: list[DictRow]) -> list[Any]:
    names = ("rated_energy_ac_kwh", "rated_energy_dc_kwh")
    sides = pl.DataFrame(
        {name: [row[name] for row in rows] for name in names},
        schema=dict.fromkeys(names, pl.Float64),
    )
    ratio = ratio_percent(pl.col(names[0]), pl.col(names[1]))
    return sides.select(ratio).to_series().to_list()
