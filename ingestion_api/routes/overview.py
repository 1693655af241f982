"""Overview of the whole fleet in one answer, and devices by a part of their id."""

from datetime import datetime
from typing import Annotated, Any, Final

import polars as pl
from fastapi import APIRouter, Query
from psycopg.rows import DictRow
from pydantic import Field

from ingestion_api.analytics.lake_access import in_lake_thread, reading_the_lake
from ingestion_api.observability.freshness import Figures
from ingestion_api.rest.models import Answer
from ingestion_api.rest.problems import problem_responses
from ingestion_api.rest.validation_messages import PRINTABLE
from ingestion_api.routes.device_filter import DeviceFilter, DeviceFilterDep
from ingestion_api.routes.efficiency import Status
from ingestion_api.routes.live import (
    Connection,
    Kind,
    cadence_seconds,
    connection_flag,
    connection_limits,
)
from ingestion_api.routes.table_pages import part_of_fleet
from ingestion_api.services import Services, ServicesDep
from lake import HOUR, EnergySettings, hour_of
from lake.energy import STATUSES, exact_sum, ratio_percent
from lake.schema import FLEET_EFFICIENCY_HOURLY
from warehouse_sql.named_queries import query

_HOURS: Final = 24
_ADDED_UP: Final = (
    "energy_ac_kwh",
    "energy_dc_kwh",
    "rated_energy_ac_kwh",
    "rated_energy_dc_kwh",
    "unlinked_energy_ac_kwh",
)

router = APIRouter(prefix="/v1/analytics", tags=["overview"])


class Connections(Answer):
    """Devices of a kind by how recently they reported."""

    online: int
    late: int
    silent: int


class Now(Answer):
    """The newest interval readings of the devices online; registers say nothing at once.

    A power is the energy of a reading by its declared interval, else by the cadence of its device.
    The two sides are not matched with each other: a momentary ratio is a hint, and told only where
    it could be rated. The computed hours are exact.
    """

    power_ac_kw: float | None = Field(description="drawn from the grid; null without a reading")
    power_dc_kw: float | None = Field(description="delivered to batteries; null without a reading")
    efficiency_percent: float | None = Field(
        description="DC by AC; null where no ratio can be believed"
    )
    meters: int = Field(description="meters with such a reading")
    vehicles: int = Field(description="vehicles with such a reading")
    vehicles_charging: int = Field(description="of them with energy delivered")


class LastHours(Answer):
    """The fleet over the computed hours among the last 24; null where none is computed."""

    hours: int = Field(description="hours that are computed")
    first_hour: datetime | None
    last_hour: datetime | None
    energy_ac_kwh: float | None = Field(description="AC energy of the linked vehicles")
    energy_dc_kwh: float | None = Field(description="DC energy of the linked vehicles")
    rated_energy_ac_kwh: float | None = Field(description="of them those that have a ratio")
    rated_energy_dc_kwh: float | None = Field(description="of them those that have a ratio")
    unlinked_energy_ac_kwh: float | None = Field(description="of meters that feed no vehicle")
    loss_kwh: float | None = Field(description="rated AC less rated DC")
    efficiency_percent: float | None = Field(description="rated DC by rated AC")


class NewestHour(Answer):
    """The newest computed hour."""

    hour_start: datetime
    vehicles_by_status: dict[Status, int]


class NewestHeartbeat(Answer):
    """The heartbeat that was received last."""

    kind: Kind
    id: str
    timestamp: datetime
    received_at: datetime


class Ingest(Answer):
    """The rate of heartbeats, and the lag of the lake."""

    records_per_second: float | None = Field(
        description="over the last minute, of all collectors; null right after a start"
    )
    waiting: int | None = Field(description="acknowledged heartbeats outside the lake")
    lag_seconds: float | None = Field(description="age of the oldest of them")
    newest: NewestHeartbeat | None


class Overview(Answer):
    """The fleet now and over 24 hours."""

    at: datetime
    vehicles: Connections
    meters: Connections
    now: Now
    last_24_hours: LastHours
    newest_hour: NewestHour | None
    ingest: Ingest
    figures: Figures | None = Field(
        description="how far the computed figures go; null before the database was asked"
    )


class FoundDevice(Answer):
    """A device whose id holds the text."""

    kind: Kind
    id: str
    timestamp: datetime = Field(description="event time of its newest heartbeat")
    connection: Connection


class FoundDevices(Answer):
    """The best matches first."""

    devices: list[FoundDevice]
    truncated: bool = Field(description="true if there are more than `limit`")


@router.get("/overview", responses=problem_responses(422, 503), name="The fleet at a glance")
async def overview(services: ServicesDep, where: DeviceFilterDep) -> Overview:
    """Devices by connection, energy now and over the last 24 hours, ingest and its lag.

    With depots or groups all but the ingest is of their devices alone, as if they were the fleet;
    `figures` are those of all.
    """
    now = services.now()
    newest_start, believed_until = hour_of(now), services.believed_until(now)
    async with services.replica_pool.connection() as conn:
        live = await (
            await conn.execute(
                query("overview_live"),
                {**connection_limits(services, now), **where.parameters},
                prepare=True,
            )
        ).fetchall()
        window = {"start": newest_start - _HOURS * HOUR, "end": now}
        hours = await (await conn.execute(query("overview_hours"), window)).fetchone()
        newest = await (await conn.execute(query("overview_newest_hour"), {"now": now})).fetchone()
    if where.is_set:
        hours, newest = await _hours_of_part(services, where, newest_start)
    assert hours is not None, "the query always has one row"
    by_kind = {row["kind"]: row for row in live}
    backlog = services.outbox.backlog
    return Overview(
        at=now,
        vehicles=_connections(by_kind.get("vehicle")),
        meters=_connections(by_kind.get("meter")),
        now=_now(by_kind.get("meter"), by_kind.get("vehicle"), services.energy),
        last_24_hours=_last_hours(hours),
        newest_hour=_newest_hour(newest),
        ingest=Ingest(
            records_per_second=services.outbox.records_per_second,
            waiting=backlog.rows if backlog else None,
            lag_seconds=backlog.age_seconds(now) if backlog else None,
            newest=_newest_heartbeat(live, believed_until),
        ),
        figures=services.figures(now),
    )


@router.get("/devices", responses=problem_responses(422, 503), name="Devices by a part of their id")
async def devices_by_id(
    services: ServicesDep,
    where: DeviceFilterDep,
    text: Annotated[
        str,
        Query(
            alias="idContains",
            min_length=1,
            max_length=64,
            pattern=PRINTABLE,
            description="a part of the id, in any case",
        ),
    ],
    kind: Annotated[Kind | None, Query(description="only meters, or only vehicles")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="most devices in the answer")] = 20,
) -> FoundDevices:
    """Devices whose id holds a text: the one that is it first, then those that begin with it."""
    now = services.now()
    async with services.replica_pool.connection() as conn:
        rows = await conn.execute(
            query("devices_by_id"),
            {"text": text, "kind": kind, "limit": limit + 1, **where.parameters},
        )
        found = await rows.fetchall()
    return FoundDevices(
        devices=[
            FoundDevice(
                kind=row["kind"],
                id=row["device_id"],
                timestamp=row["timestamp"],
                connection=connection_flag(
                    services, row["timestamp"], cadence_seconds(services, row), now
                ),
            )
            for row in found[:limit]
        ],
        truncated=len(found) > limit,
    )


async def _hours_of_part(
    services: Services, where: DeviceFilter, newest_start: datetime
) -> tuple[DictRow, DictRow | None]:
    """What the two queries of the fleet's hours tell, of a part of it."""
    part = await part_of_fleet(services, FLEET_EFFICIENCY_HOURLY, where)

    def read() -> pl.DataFrame:
        with reading_the_lake():
            return part.scan(newest_start - _HOURS * HOUR, newest_start + HOUR).collect()

    rows = await in_lake_thread(read)
    time = pl.col("hour_start")
    sums = (exact_sum(pl.col(name)) for name in _ADDED_UP)
    about = rows.select(*sums, hours=pl.len(), first_hour=time.min(), last_hour=time.max())
    newest = rows.tail(1).to_dicts()
    return about.row(0, named=True), newest[0] if newest else None


def _connections(row: DictRow | None) -> Connections:
    counts = row or {}
    return Connections(**{name: counts.get(name, 0) for name in Connections.model_fields})


def _now(meters: DictRow | None, vehicles: DictRow | None, energy: EnergySettings) -> Now:
    silent: DictRow = {"readings": 0, "flowing": 0, "power_kw": None}
    ac, dc = meters or silent, vehicles or silent
    return Now(
        power_ac_kw=_rounded(ac["power_kw"]),
        power_dc_kw=_rounded(dc["power_kw"]),
        efficiency_percent=_believable(_percent(ac["power_kw"], dc["power_kw"]), energy),
        meters=ac["readings"],
        vehicles=dc["readings"],
        vehicles_charging=dc["flowing"],
    )


def _rounded(power_kw: float | None) -> float | None:
    return None if power_kw is None else round(power_kw, 3)


def _last_hours(row: DictRow) -> LastHours:
    ac, dc = row["rated_energy_ac_kwh"], row["rated_energy_dc_kwh"]
    return LastHours(
        **row,
        loss_kwh=None if ac is None or dc is None else round(ac - dc, 9),
        efficiency_percent=_percent(ac, dc),
    )


def _newest_hour(row: DictRow | None) -> NewestHour | None:
    if row is None:
        return None
    counts: dict[Any, int] = {status: row[f"vehicles_{status}"] for status in STATUSES}
    return NewestHour(hour_start=row["hour_start"], vehicles_by_status=counts)


def _newest_heartbeat(live: list[DictRow], believed_until: datetime) -> NewestHeartbeat | None:
    def order(row: DictRow) -> tuple[bool, datetime]:
        return row["received_at"] <= believed_until, row["received_at"]

    row = max(live, key=order, default=None)
    if row is None:
        return None
    return NewestHeartbeat(
        kind=row["kind"],
        id=row["device_id"],
        timestamp=row["timestamp"],
        received_at=row["received_at"],
    )


def _percent(ac: float | None, dc: float | None) -> float | None:
    sides = pl.DataFrame({"ac": [ac], "dc": [dc]}, schema={"ac": pl.Float64, "dc": pl.Float64})
    value: float | None = sides.select(ratio_percent(pl.col("ac"), pl.col("dc"))).item()
    return value


def _believable(percent: float | None, energy: EnergySettings) -> float | None:
    """A ratio that could be rated; that of a charge that has just begun mostly could not."""
    *_, implausible_below = energy.status_limits(None)
    return percent if percent is not None and implausible_below <= percent <= 100 else None
