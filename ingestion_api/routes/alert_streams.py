"""Streams of alert events: by WebSocket, and as server-sent events.

Neither is in OpenAPI, which knows no answer without an end; docs/alerts.md describes them.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Header, Query, Request, WebSocket
from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ingestion_api.alerts.event_feed import Event, PositionExpired
from ingestion_api.auth.api_keys import Caller
from ingestion_api.rest.problems import Problem
from ingestion_api.routes.device_filter import (
    Depots,
    DeviceFilter,
    DeviceFilterDep,
    Groups,
    device_filter,
    devices_within,
)
from ingestion_api.server.http_protocol import ENDLESS
from ingestion_api.services import Services, ServicesDep

router = APIRouter(prefix="/v1/alerts")

_PATIENCE_SECONDS: Final = 5.0  # so often the caller's key is looked at again
_UNREAD_SECONDS: Final = 30.0  # a client that reads nothing for so long is left
_POLICY_VIOLATION, _GONE = 1008, 4410  # close codes; those from 4000 on are the application's own

Position = Annotated[int | None, Query(ge=0, le=2**63 - 1)]


@router.websocket("/stream")
async def stream(
    websocket: WebSocket, after: Position = None, depot: Depots = None, group: Groups = None
) -> None:
    """Every event as a text message, those after `after` first; of some depots and groups."""
    services: Services = websocket.app.state.services
    await websocket.accept()
    origin = websocket.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != websocket.headers.get("host"):
        await websocket.close(_POLICY_VIOLATION, "a page of another site")
        return
    try:
        where = await device_filter(services, depot, group)
        begin = await _begin(services, after)
    except PositionExpired as error:
        await websocket.close(_GONE, str(error)[:120])
        return
    except Problem as problem:
        await websocket.close(_POLICY_VIOLATION, problem.detail[:120])
        return

    async def send() -> None:
        await websocket.send_text(to_json({"id": begin, "type": "start"}).decode())
        async for events in _events(services, websocket.scope["caller"], begin, where):
            for event in events:
                async with asyncio.timeout(_UNREAD_SECONDS):
                    await websocket.send_text(event.text)
        await websocket.close(_POLICY_VIOLATION, "the API key is revoked")

    await _until_either_ends(send(), _ended(websocket.receive, "websocket.disconnect"))


@router.get("/stream", include_in_schema=False)
async def no_stream(after: Position = None) -> Response:
    """Refuse a request for the WebSocket that is none."""
    raise Problem(
        426,
        "this is a WebSocket; GET /v1/alerts/events has the same events without one",
        headers={"Upgrade": "websocket", "Connection": "Upgrade"},
    )


@router.get("/events", include_in_schema=False)
async def events(
    request: Request,
    services: ServicesDep,
    where: DeviceFilterDep,
    after: Position = None,
    last_event_id: Annotated[int | None, Header(ge=0, le=2**63 - 1)] = None,
) -> Response:
    """Every event as a server-sent one, those after `Last-Event-ID` or `after` first.

    With depots or groups those of their devices alone.
    """
    try:
        begin = await _begin(services, after if last_event_id is None else last_event_id)
    except PositionExpired as error:
        raise Problem(410, str(error)) from None
    return _EventStream(services, begin, where)


class _EventStream(Response):
    media_type = "text/event-stream"

    def __init__(self, services: Services, begin: int, where: DeviceFilter) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._services, self._begin, self._where = services, begin, where

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ENDLESS] = True

        async def body(text: str, *, more: bool = True) -> None:
            message = {"type": "http.response.body", "body": text.encode(), "more_body": more}
            await send(message)

        async def send_all() -> None:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            await body(_server_sent(self._begin, "start", "{}"))
            following = _events(self._services, scope["caller"], self._begin, self._where)
            async for some in following:
                texts = [_server_sent(event.id, event.type, event.text) for event in some]
                await body("".join(texts) or ": still here\n\n")
            await body("", more=False)

        await _until_either_ends(send_all(), _ended(receive, "http.disconnect"))


async def _begin(services: Services, after: int | None) -> int:
    """The position to go on from; PositionExpired if there is none such any more."""
    if after is None:
        return services.alerts.feed.newest
    await services.alerts.feed.check_position(after)
    return after


async def _events(
    services: Services, caller: Caller, position: int, where: DeviceFilter
) -> AsyncIterator[list[Event]]:
    """Yield the events after a position, or none now and then; ends with the caller's key."""
    while services.keys.is_valid(caller):
        found = await services.alerts.feed.events_after(position, _PATIENCE_SECONDS)
        if found:
            position = found[-1].id
        yield await _within(services, found, where)


async def _within(services: Services, events: list[Event], where: DeviceFilter) -> list[Event]:
    """Leave the events of devices that belong to the filter now."""
    if not (events and where.is_set):
        return events
    ids = await devices_within(services, where)
    known = {(kind, device) for kind, devices in ids.items() for device in devices}
    return [event for event in events if (event.device_kind, event.device_id) in known]


async def _ended(receive: Callable[[], Awaitable[Any]], kind: str) -> None:
    """Return when the client is gone; what it sends otherwise is not read."""
    while (await receive())["type"] != kind:
        pass


async def _until_either_ends(*works: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        error = task.exception()
        if error is not None and not isinstance(error, TimeoutError):
            raise error


def _server_sent(number: int, kind: str, data: str) -> str:
    return f"id: {number}\nevent: {kind}\ndata: {data}\n\n"
