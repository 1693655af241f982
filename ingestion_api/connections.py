"""How many connections there may be, and how long one may keep the collector waiting."""

import asyncio
import resource
from functools import partial
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ingestion_api.joined_writes import JoinedWrites
from ingestion_api.settings import CollectorSettings

ENDLESS: Final = "wattlake.endless"  # in the scope of a request: its answer ends with the server
_RESERVED: Final = 256  # open files that are no connections: the database's, the lake's, the log's
_TOO_MANY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: %d\r\n"
    b"connection: close\r\ncontent-length: 0\r\n\r\n"
)


def possible_connections(wanted: int) -> int:
    """As many of the wanted connections as the process may have open; raises its limit for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = wanted + _RESERVED
    if soft != resource.RLIM_INFINITY and soft < enough:
        soft = enough if hard == resource.RLIM_INFINITY else min(enough, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= enough:
        return wanted
    return soft - min(_RESERVED, soft // 2)


def bounded_connection(connections: int, settings: CollectorSettings) -> type[asyncio.Protocol]:
    """What uvicorn is to use for each of at most `connections`."""
    made = partial(
        _BoundedConnection,
        most=connections,
        patience=settings.body_timeout_seconds,
        too_many=_TOO_MANY % settings.retry_after_seconds,
    )
    return cast("type[asyncio.Protocol]", made)


class _BoundedConnection(HttpToolsProtocol):
    """uvicorn's own closes an idle connection after its first answer only.

    This one is closed, too, where the head of a request takes too long, the first one's from the
    start of the connection; and where an answer of some size is not read for too long.
    """

    def __init__(self, *args: Any, most: int, patience: float, too_many: bytes, **named: Any):
        super().__init__(*args, **named)
        self._most, self._patience, self._too_many = most, patience, too_many
        self._wants_head = True
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._joined = JoinedWrites(transport, self.loop)
        super().connection_made(self._joined)
        if len(self.connections) > self._most:
            transport.write(self._too_many)
            transport.close()
        else:
            self._head_timer = self.loop.call_later(self._patience, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._head_timer)
        _cancel(self._unread_timer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._wants_head and self._head_timer is None:
            self._head_timer = self.loop.call_later(self._patience, self.transport.close)
        elif self._head_timer is not None and not self._wants_head:
            self._head_timer.cancel()
            self._head_timer = None

    def on_message_begin(self) -> None:
        self._wants_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._wants_head = False
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        self._joined.flush()
        super().on_response_complete()

    def handle_websocket_upgrade(self) -> None:
        self.transport = self._joined.under
        super().handle_websocket_upgrade()

    def shutdown(self) -> None:
        if self.cycle is not None and self.cycle.scope.get(ENDLESS):
            self.transport.close()  # its answer has no end to wait for
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_timer = self.loop.call_later(self._patience, self.transport.abort)

    def resume_writing(self) -> None:
        _cancel(self._unread_timer)
        super().resume_writing()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
