"""Filter of lists and tables by depot and group."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Query
from psycopg.rows import DictRow
from pydantic import Field

from ingestion_api.rest.problems import Problem
from ingestion_api.routes.live import Kind
from ingestion_api.services import Services, ServicesDep
from warehouse_sql.device_attributes import DEPOT_PATTERN, Text
from warehouse_sql.named_queries import query

_MOST: Final = 20
Depots = Annotated[
    list[Annotated[str, Field(pattern=DEPOT_PATTERN)]] | None,
    Query(
        alias="depot",
        max_length=_MOST,
        description="only devices of this depot; repeat it for several",
    ),
]
Groups = Annotated[
    list[Text] | None,
    Query(
        alias="group",
        max_length=_MOST,
        description="only devices of this group; repeat it for several",
    ),
]


@dataclass(frozen=True)
class DeviceFilter:
    """Depots and groups of which a device must have one each; None: any."""

    depots: Sequence[str] | None
    groups: Sequence[str] | None

    @property
    def is_set(self) -> bool:
        """Tell whether any depot or group is named."""
        return self.depots is not None or self.groups is not None

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters of the queries that have this filter."""
        return {"is_placed": self.is_set, "depots": self.depots, "groups": self.groups}


async def device_filter(
    services: ServicesDep, depot: Depots = None, group: Groups = None
) -> DeviceFilter:
    """Return the filter of a request; Problem 422 for a depot or a group that there is not."""
    wanted = DeviceFilter(_distinct(depot), _distinct(group))
    if wanted.is_set:
        async with services.pool.connection() as conn:
            rows = await conn.execute(query("missing_places"), wanted.parameters)
            missing = await rows.fetchone()
        if missing is not None:
            what, name = missing["what"], missing["name"]
            where = "depots" if what == "depot" else "devices"
            raise Problem(
                422, f"{what}: there is no {what} {name!r}; GET /v1/{where} lists those there are"
            )
    return wanted


async def devices_within(services: Services, wanted: DeviceFilter) -> dict[Kind, list[str]]:
    """Return the ids of the devices that a filter lets through, sorted, by their kind."""
    found: dict[Kind, list[str]] = {"meter": [], "vehicle": []}
    for row in await placed_devices(services, wanted):
        found["meter" if row["stream"] == "meter" else "vehicle"].append(row["device_id"])
    return found


async def placed_devices(services: Services, wanted: DeviceFilter) -> list[DictRow]:
    """Return stream, device_id, depot and group of the devices that a filter lets through."""
    async with services.pool.connection() as conn:
        # Planned for the filters that are given.
        rows = await conn.execute(query("devices_within"), wanted.parameters, prepare=False)
        return await rows.fetchall()


def _distinct(names: list[str] | None) -> list[str] | None:
    return sorted(set(names)) if names else None


DeviceFilterDep = Annotated[DeviceFilter, Depends(device_filter)]
