"""Pages of the lake's computed tables as answers."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from ingestion_api.analytics.lake_access import in_lake_thread, reading_the_lake
from ingestion_api.rest.cursors import LIFETIME, read_cursor, write_cursor
from ingestion_api.rest.etags import (
    NOT_MODIFIED,
    etag_headers,
    etag_matches,
    fingerprint,
    not_modified,
)
from ingestion_api.rest.parameters import BadWindow, Moment, Period, window
from ingestion_api.rest.problems import Problem, problem_responses
from ingestion_api.rest.table_formats import (
    JSON,
    camel_case_rows,
    negotiate_format,
    page_of_table,
    render_table,
    row_schema,
)
from ingestion_api.routes.device_filter import DeviceFilter, devices_within
from ingestion_api.routes.live import Kind
from ingestion_api.services import Services
from lake import HOUR
from lake.reads import (
    PagePosition,
    PageQuery,
    PartOfFleet,
    TableVersion,
    page_position,
    read_page,
    row_period,
)
from lake.schema import (
    CHARGER_EFFICIENCY_DAILY,
    CHARGER_EFFICIENCY_HOURLY,
    DERIVED_TABLES,
    FLEET_EFFICIENCY_DAILY,
    FLEET_EFFICIENCY_HOURLY,
    VEHICLE_EFFICIENCY_DAILY,
    VEHICLE_EFFICIENCY_HOURLY,
    TableSpec,
)

_POSITION: Final = TypeAdapter(tuple[Moment, Moment, Moment, str])
_DAY: Final = timedelta(days=1)
# The tables of the fleet, and those of vehicles and chargers that they add up.
_FLEET: Final = {
    FLEET_EFFICIENCY_HOURLY.name: (VEHICLE_EFFICIENCY_HOURLY, CHARGER_EFFICIENCY_HOURLY),
    FLEET_EFFICIENCY_DAILY.name: (VEHICLE_EFFICIENCY_DAILY, CHARGER_EFFICIENCY_DAILY),
}
# The columns that a filter may be about, by its name in the query.
_COLUMNS: Final = {
    "vehicleId": ("vehicle_id", "vehicle_ids"),
    "meterId": ("meter_id", "meter_ids"),
    "status": ("status",),
}

# Those about devices of a kind, for tables of both.
_KINDS: Final = {"vehicleId": "vehicle", "meterId": "meter"}


async def answer_table(
    request: Request,
    services: Services,
    spec: TableSpec,
    start: datetime | None,
    end: datetime | None,
    filters: Mapping[str, Sequence[str] | None],
    where: DeviceFilter,
    limit: int,
    cursor: str | None,
    if_none_match: list[str] | None,
) -> Response:
    """A page of a table, or 304 where the caller has it; raises Problem.

    `filters` are the values of which a row is to have one, by the parameter's name; None: any. One
    that the table has no column for is refused, as the rows would be others than were asked for.
    Of the fleet's tables `where` leaves the rows of its part.
    """
    kind, now = negotiate_format(request), services.now()
    values = _values(spec, filters)
    asked = [spec.name, start, end, sorted(values.items()), where.depots, where.groups]
    after = None
    if cursor is None:
        period = table_window(services, spec, start, end)
    else:
        begins, ends, time, place = read_cursor(cursor, asked, _POSITION, now)
        # Checked again: a cursor is not signed, and its window may be anybody's.
        period, after = table_window(services, spec, begins, ends), PagePosition(time, place)
    table: TableVersion | PartOfFleet
    if where.is_set and spec.name in _FLEET:
        table = await part_of_fleet(services, spec, where)
        ids: Sequence[str] = [*table.vehicle_ids, "", *table.meter_ids]
    else:
        (table,) = await newest_tables(services, spec)
        ids = await _narrow(services, spec, where, values) if where.is_set else ()
    same = fingerprint(spec.name, table.number, period, values, ids, after, limit, kind)
    # An answer that leads to a next page is good for as long as surely its cursor is.
    last, leading = same, f"{same}-{int(now.timestamp() / LIFETIME.total_seconds() * 2)}"
    for tag in (last, leading):
        if etag_matches(tag, if_none_match):
            return not_modified(tag)
    question = PageQuery(period.start, period.end, values, after)

    def read() -> tuple[bytes, str | None]:
        with reading_the_lake():
            rows = read_page(table, question, limit + 1)
        following = None
        if rows.height > limit:
            rows = rows.head(limit)
            last_row = page_position(spec, rows.row(-1, named=True))
            position = [period.start, period.end, last_row.time, last_row.place]
            following = write_cursor(asked, position, now)
        if kind != JSON:
            return render_table(rows, spec.columns, kind), following
        answer = {"period": period, "rows": camel_case_rows(rows), "nextCursor": following}
        return to_json(answer), following

    body, following = await in_lake_thread(read)
    headers = etag_headers(last if following is None else leading)
    if following is not None:
        url = request.url.include_query_params(cursor=following)
        headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    return Response(body, headers=headers, media_type=kind)


async def part_of_fleet(services: Services, spec: TableSpec, where: DeviceFilter) -> PartOfFleet:
    """The devices of a filter as if they were the fleet, for a table of that."""
    ids = await devices_within(services, where)
    vehicles, chargers, *hours = await newest_tables(
        services, *_FLEET[spec.name], VEHICLE_EFFICIENCY_HOURLY, CHARGER_EFFICIENCY_HOURLY
    )
    return PartOfFleet(spec, vehicles, chargers, (hours[0], hours[1]), ids["vehicle"], ids["meter"])


async def _narrow(
    services: Services, spec: TableSpec, where: DeviceFilter, values: dict[str, list[str]]
) -> list[str]:
    """Leave the devices of the filter in the values of the column that rows are about."""
    kind, column = _kind_of_rows(spec)
    ids = (await devices_within(services, where))[kind]
    values[column] = sorted({*values[column]} & {*ids}) if column in values else ids
    return ids


def _kind_of_rows(spec: TableSpec) -> tuple[Kind, str]:
    if "vehicle_id" in spec.key:
        return "vehicle", "vehicle_id"
    if "meter_id" in spec.key:
        return "meter", "meter_id"
    raise Problem(
        422,
        f"depot, group: rows of {spec.name} are of no single vehicle or meter; with them ask GET "
        "/v1/analytics/fleet/live, /v1/maintenance, or one of the tables of vehicles, chargers and "
        "the fleet",
    )


def _values(spec: TableSpec, filters: Mapping[str, Sequence[str] | None]) -> dict[str, list[str]]:
    """The values of which a row is to have one, by column."""
    values: dict[str, list[str]] = {}
    for name, found in filters.items():
        kind = _KINDS.get(name) if "device_kind" in spec.names else None
        if found and kind is not None:
            # Of both kinds at once there is no row.
            values["device_kind"] = [] if "device_kind" in values else [kind]
            values["device_id"] = [*found]
        elif found:
            values[_column(spec, name)] = sorted(set(found))
    return values


def _column(spec: TableSpec, parameter: str) -> str:
    """The column that a filter is about; Problem 422 with where to ask instead."""
    for name in _COLUMNS[parameter]:
        if name in spec.names:
            return name
    others = [
        f"/v1/analytics/tables/{other.name}"
        for other in DERIVED_TABLES
        if row_period(other) == row_period(spec) and _COLUMNS[parameter][0] in other.names
    ]
    known = [name for name, columns in _COLUMNS.items() if {*columns} & {*spec.names}]
    takes = f"only {' and '.join(known)}" if known else "no filter but the window"
    raise Problem(
        422,
        f"{parameter}: rows of {spec.name} have none, it takes {takes}; "
        f"with {parameter} ask GET {' or '.join(others)}",
    )


def table_responses(specs: Sequence[TableSpec]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` of a call that answers with pages of one of these tables."""
    rows = [{"title": spec.name, **row_schema(spec.columns)} for spec in specs]
    page = {
        "type": "object",
        "properties": {
            "period": Period.model_json_schema(),
            "rows": {"type": "array", "items": rows[0] if len(rows) == 1 else {"anyOf": rows}},
            "nextCursor": {
                "type": ["string", "null"],
                "description": "`cursor` of the next page; null at the end",
            },
        },
        "required": ["period", "rows", "nextCursor"],
    }
    etag = {"ETag": {"description": "of exactly this answer", "schema": {"type": "string"}}}
    found = page_of_table("a page of rows, newest first, then by device", page)
    return {
        200: {**found, "headers": etag | found["headers"]},
        **NOT_MODIFIED,
        **problem_responses(406, 410, 422, 503),
    }


async def newest_tables(services: Services, *specs: TableSpec) -> list[TableVersion]:
    """The newest version of each table; raises LakeError."""

    @reading_the_lake()
    def read() -> list[TableVersion]:
        return [services.tables.newest_version(spec) for spec in specs]

    return await in_lake_thread(read)


def table_window(
    services: Services, spec: TableSpec, start: datetime | None, end: datetime | None
) -> Period:
    """The window that is asked for; Problem 422 if it is none.

    By default 24 hours, or 31 days of a table of days, up to the running one. A window of days may
    be 24 times as long: it has as many rows.
    """
    unit = row_period(spec)
    if start is None or end is None:
        ends = end or _rounded_up(services.now(), unit)
        length = _DAY if unit == HOUR else 31 * _DAY
        start, end = start or ends - length, ends
    try:
        longest = services.settings.longest_window_days * (unit // HOUR)
        return window(start, end, end, longest)
    except BadWindow as error:
        raise Problem(422, str(error)) from None


def _rounded_up(now: datetime, unit: timedelta) -> datetime:
    epoch = datetime(2000, 1, 1, tzinfo=UTC)
    return epoch + ((now - epoch) // unit + 1) * unit
