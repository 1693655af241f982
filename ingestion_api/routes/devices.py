"""The device registry: what people say of devices, one by one or as CSV."""

import asyncio
import csv
import io
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import polars as pl
from fastapi import APIRouter, Path, Query, Request
from pydantic import Field, TypeAdapter
from pydantic_core import to_json
from starlette.responses import Response

from ingestion_api.heartbeats.contract import ID_PATTERN
from ingestion_api.rest.cursors import read_cursor, write_cursor
from ingestion_api.rest.json_body import JSON, describe_record, media_type, read_record
from ingestion_api.rest.models import Answer
from ingestion_api.rest.problems import Problem, problem_responses
from ingestion_api.rest.table_formats import CSV, negotiate_format, render_table
from ingestion_api.routes.device_filter import DeviceFilterDep
from ingestion_api.routes.live import Kind
from ingestion_api.services import Services, ServicesDep
from lake.csv_injection import unescape_formula
from warehouse_sql.device_attributes import (
    ATTRIBUTES,
    DeviceAttributes,
    charger_class_fault,
)
from warehouse_sql.device_csv import COLUMNS, BadHeader, csv_rows, device_columns, read_devices
from warehouse_sql.devices import DeviceUpdate, UnknownDepot, UpdatedDevices, update_devices
from warehouse_sql.errors import WarehouseError
from warehouse_sql.named_queries import query

_Id = Annotated[
    str,
    Path(alias="id", pattern=ID_PATTERN, description="id of the device", examples=["METER001"]),
]
_KindOf = Annotated[Kind, Path(description="meter or vehicle", examples=["meter"])]

_POSITION: Final = TypeAdapter(tuple[Kind, str])
_EXAMPLE: Final[dict[str, object]] = {
    "group": "vans",
    "label": "Bay 7",
    "latitude": 52.52,
    "longitude": 13.4,
    "timeZone": "Europe/Berlin",
    "cadenceSeconds": 900,
}
_CSV_EXAMPLE: Final = "stream,device_id,group,label\nmeter,METER001,vans,Bay 7\n"
_TYPES: Final[dict[str, pl.DataType]] = {
    **dict.fromkeys(COLUMNS, pl.String()),
    "retired_at": pl.Datetime("us", "UTC"),
    **dict.fromkeys(("latitude", "longitude", "cadence_seconds"), pl.Float64()),
}

router = APIRouter(prefix="/v1/devices", tags=["devices"])


class Device(Answer):
    """A device of the registry, or one that was heard."""

    kind: Kind
    id: str
    first_heard_at: datetime | None = Field(
        description="event time of its oldest heartbeat in the history; null: it holds none yet"
    )
    newest_at: datetime | None = Field(
        description="event time of its newest heartbeat; null: no collector has heard it"
    )
    updated_at: datetime | None = Field(
        description="when people last said something of it; null: never"
    )
    charger_class: str | None
    retired_at: datetime | None
    depot: str | None
    group: str | None
    driver: str | None
    label: str | None
    latitude: float | None
    longitude: float | None
    time_zone: str | None
    cadence_seconds: float | None


class Devices(Answer):
    """A page of devices."""

    devices: list[Device]
    next_cursor: str | None = Field(description="`cursor` of the next page; null at the end")


class UploadAnswer(Answer):
    """The outcome of a CSV."""

    devices: int = Field(description="rows of the CSV")
    changed: int = Field(description="devices of which something is another than before")
    unheard: int = Field(description="devices of which no heartbeat ever came")
    hours: int = Field(description="published hours that are computed again")
    dry_run: bool = Field(description="true: nothing was changed")


@router.get(
    "",
    response_class=Response,
    responses={
        200: {
            "model": Devices,
            "description": "a page of devices by kind and id",
            "content": {CSV: {"schema": {"type": "string"}}},
        },
        **problem_responses(406, 410, 422, 503),
    },
    name="Devices there are",
)
async def list_devices(
    request: Request,
    services: ServicesDep,
    where: DeviceFilterDep,
    kind: Annotated[Kind | None, Query(description="only meters, or only vehicles")] = None,
    limit: Annotated[
        int | None,
        Query(ge=1, le=10_000, description="devices on a page; left out 1,000, of a CSV all"),
    ] = None,
    cursor: Annotated[str | None, Query(description="nextCursor of the page before")] = None,
) -> Response:
    """The registry, meters by id and then vehicles by id, as JSON or CSV, by `Accept`.

    The CSV is one that POST takes: without `limit` it has all devices. The header `Link` names the
    next page.
    """
    wanted, now = negotiate_format(request, (JSON, CSV)), services.now()
    if limit is None and wanted == JSON:
        limit = 1_000
    filters = {"stream": kind, "depots": where.depots, "groups": where.groups}
    question = ["devices", *filters.values()]
    after: tuple[Kind, str] | tuple[None, None] = (None, None)
    if cursor is not None:
        after = read_cursor(cursor, question, _POSITION, now)
    rows = await _rows(
        services,
        **filters,
        after_stream=after[0],
        after_id=after[1],
        limit=None if limit is None else limit + 1,
    )
    page, following = rows[:limit], None
    if len(page) < len(rows):
        following = write_cursor(question, [page[-1]["stream"], page[-1]["device_id"]], now)
    headers = {"Vary": "Accept"}
    if following is not None:
        url = request.url.include_query_params(cursor=following)
        headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'

    def body() -> bytes:
        if wanted == CSV:
            return _csv(page)
        return to_json(Devices(devices=[_device(row) for row in page], next_cursor=following))

    return Response(await asyncio.to_thread(body), headers=headers, media_type=wanted)


@router.post(
    "",
    responses=problem_responses(400, 408, 413, 415, 422, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {CSV: {"schema": {"type": "string"}, "example": _CSV_EXAMPLE}},
        }
    },
    name="Say what many devices are",
)
async def upload_devices(
    request: Request,
    services: ServicesDep,
    dry_run: Annotated[
        bool, Query(alias="dryRun", description="check and count alone; nothing is changed")
    ] = False,
) -> UploadAnswer:
    """Take a CSV of devices, as a whole or not at all: each fault is told with its line.

    An empty cell leaves a value as it is, `none` clears it. Devices that no row names stay as they
    are. Hours in which a class or a retirement makes a difference are computed again.
    """
    media_type(request, CSV)
    body = await services.bodies.read(request.scope, request.receive)
    depots = [row["id"] for row in await _depots(services)]
    updates = await asyncio.to_thread(_read_csv, body, services.energy.charger_classes, depots)
    done = await _update(services, updates, dry_run=dry_run)
    return UploadAnswer(
        devices=len(updates),
        changed=done.changed,
        unheard=len(done.unheard),
        hours=done.hours,
        dry_run=dry_run,
    )


@router.get(
    "/{kind}/{id:path}", responses=problem_responses(404, 422, 503), name="What a device is"
)
async def one_device(kind: _KindOf, device: _Id, services: ServicesDep) -> Device:
    """Everything that is known of a device but its readings."""
    rows = await _rows(services, stream=kind, device=device)
    if not rows:
        raise Problem(404, f"{kind} {device} is not known; GET /v1/devices lists those that are")
    return _device(rows[0])


@router.put(
    "/{kind}/{id:path}",
    responses=problem_responses(400, 408, 413, 415, 422, 503),
    openapi_extra=describe_record(DeviceAttributes, _EXAMPLE),
    name="Say what a device is",
)
async def put_device(
    kind: _KindOf,
    device: _Id,
    request: Request,
    services: ServicesDep,
) -> Device:
    """Set all attributes of a device, also before its first heartbeat: what is left out is cleared.

    Hours in which its class or its retirement makes a difference are computed again.
    """
    sent = await read_record(request, services.bodies, DeviceAttributes)
    whole = DeviceAttributes(**{name: getattr(sent, name) for name in ATTRIBUTES})
    return await _told(services, kind, device, whole)


@router.patch(
    "/{kind}/{id:path}",
    responses=problem_responses(400, 408, 413, 415, 422, 503),
    openapi_extra=describe_record(DeviceAttributes, {"label": "Bay 8", "group": None}),
    name="Change what is said of a device",
)
async def patch_device(
    kind: _KindOf,
    device: _Id,
    request: Request,
    services: ServicesDep,
) -> Device:
    """Set some attributes of a device: what is left out stays as it is, null clears a value."""
    sent = await read_record(request, services.bodies, DeviceAttributes)
    return await _told(services, kind, device, sent)


async def _told(
    services: Services, kind: Kind, device: str, attributes: DeviceAttributes
) -> Device:
    classes = services.energy.charger_classes
    if fault := charger_class_fault(kind, attributes.charger_class, classes):
        raise _bad_field("chargerClass", fault)
    await _update(services, [DeviceUpdate(kind, device, attributes)])
    (row,) = await _rows(services, stream=kind, device=device)
    return _device(row)


async def _update(
    services: Services, updates: Sequence[DeviceUpdate], *, dry_run: bool = False
) -> UpdatedDevices:
    try:
        return await asyncio.to_thread(update_devices, services.dsn, updates, dry_run=dry_run)
    except UnknownDepot as error:
        raise _bad_field("depot", str(error)) from None
    except WarehouseError as error:
        # The database's own error is answered as that of any other call.
        raise error.__cause__ or error from None


def _bad_field(field: str, reason: str) -> Problem:
    return Problem(422, f"{field}: {reason}", errors=[{"field": field, "reason": reason}])


async def _rows(services: Services, **wanted: Any) -> list[dict[str, Any]]:
    names = ("stream", "device", "depots", "groups", "charger_class", "silent_since", "pattern")
    parameters = dict.fromkeys((*names, "after_stream", "after_id", "limit")) | wanted
    async with services.pool.connection() as conn:
        # Planned for the filters that are given.
        found = await conn.execute(query("list_devices"), parameters, prepare=False)
        return await found.fetchall()


async def _depots(services: Services) -> list[dict[str, Any]]:
    async with services.pool.connection() as conn:
        return await (await conn.execute(query("list_depots"), {"id": None})).fetchall()


def _device(row: dict[str, Any]) -> Device:
    return Device(kind=row["stream"], id=row["device_id"], **row)


def _csv(rows: Sequence[dict[str, Any]]) -> bytes:
    frame = pl.DataFrame([[row[name] for name in _TYPES] for row in rows], _TYPES, orient="row")
    return render_table(frame, (), CSV)


def _read_csv(body: bytes, classes: Any, depots: Any) -> list[DeviceUpdate]:
    """The updates of a CSV; Problem 400 or 422 with all faults."""
    try:
        opened = io.StringIO(body.decode("utf-8-sig"), newline="")
        rows = [
            (line, [unescape_formula(cell.strip()) for cell in cells])
            for line, cells in csv_rows(opened)
        ]
    except UnicodeDecodeError:
        raise Problem(400, "the CSV is not UTF-8") from None
    except csv.Error as error:
        raise Problem(400, f"the body is not CSV: {error}") from None
    if len(rows) < 2:
        raise Problem(422, f"there is no device in the CSV; its first line is {','.join(COLUMNS)}")
    try:
        columns = device_columns(rows[0][1])
    except BadHeader as error:
        raise Problem(422, f"the CSV {error}") from None
    updates, refused = read_devices(columns, rows[1:], classes, depots)
    if refused:
        raise Problem(
            422,
            f"nothing was changed: {len(refused):,} of {len(rows) - 1:,} rows can't be taken, "
            "errors says why",
            errors=[
                {"line": row.line, "field": column, "reason": why}
                for row in refused
                for column, why in row.faults
            ],
        )
    return updates
