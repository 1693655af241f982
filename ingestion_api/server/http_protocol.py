"""Limits of connections: how many there may be, and how long one may keep the collector waiting."""

import asyncio
import resource
from functools import partial
from typing import Any, Final, cast

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from ingestion_api.rest.problems import REFUSED, Problem, problem_response
from ingestion_api.server.request_heads import RequestHeads
from ingestion_api.server.write_coalescing import CoalescedWrites
from ingestion_api.settings import CollectorSettings
from ingestion_api.token_bucket import TokenBucket

log = structlog.get_logger(__name__)

ENDLESS: Final = "wattlake.endless"  # in the scope of a request: its answer ends with the server
_RESERVED: Final = 256  # open files that are no connections: the database's, the lake's, the log's
_TURNED_AWAY: Final = 64  # of those, connections too many that are told so
_TURNED_AWAY_SECONDS: Final = 2.0
# Bytes of a client that sends on after its answer, and of one that has not said how many come.
_MOST_DISCARDED: Final = 256 * 1024 * 1024
_MOST_DISCARDED_OF_CHUNKS: Final = 8 * 1024 * 1024
_UNREAD_AT_THE_END: Final = 5.0  # seconds; a stop waits no longer for who does not read
_LOGGED_A_SECOND: Final = 0.2


def possible_connections(wanted: int) -> int:
    """Return the possible number of connections; raises the process' limit for the wanted ones."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = wanted + _RESERVED
    if soft != resource.RLIM_INFINITY and soft < enough:
        soft = enough if hard == resource.RLIM_INFINITY else min(enough, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= enough:
        return wanted
    return soft - min(_RESERVED, soft // 2)


def bounded_connection(connections: int, settings: CollectorSettings) -> type[asyncio.Protocol]:
    """Return the protocol that uvicorn is to use for each of at most `connections`."""
    made = partial(
        _BoundedConnection,
        most=connections,
        patience=settings.body_timeout_seconds,
        too_many=_too_many(settings.retry_after_seconds),
        faults=_FaultLog(),
    )
    return cast("type[asyncio.Protocol]", made)


def bounded_websocket(settings: CollectorSettings) -> type[asyncio.Protocol]:
    """The protocol that uvicorn is to use for each WebSocket."""
    made = partial(_WebSocket, patience=settings.body_timeout_seconds)
    return cast("type[asyncio.Protocol]", made)


class _Unread:
    """Ends a connection whose client does not read what was sent, however little that is.

    An end in order waits for the last byte, so it would wait for ever.
    """

    def __init__(self, transport: asyncio.Transport, patience: float) -> None:
        self._transport, self._patience = transport, patience
        self._timer: asyncio.TimerHandle | None = None
        # From the first byte on that the system does not take at once, the protocol is paused.
        transport.set_write_buffer_limits(0)

    @property
    def is_awaited(self) -> bool:
        """Whether something is still unread."""
        return self._timer is not None

    def begin(self) -> None:
        """Something is unread from now on."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._patience, self._transport.abort)

    def end(self) -> None:
        """Nothing is unread any more."""
        _cancel(self._timer)
        self._timer = None

    def hurry(self) -> None:
        """The server ends."""
        self._patience = min(self._patience, _UNREAD_AT_THE_END)
        if self.is_awaited:
            self.end()
            self.begin()


class _WebSocket(WebSocketsSansIOProtocol):
    """uvicorn's protocol, which waits for ever for a client that does not read.

    It also would log a client's broken frame as an error of the server.
    """

    def __init__(self, *args: Any, patience: float, **named: Any) -> None:
        super().__init__(*args, **named)
        self._unread_patience = patience

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._unread = _Unread(cast("asyncio.Transport", transport), self._unread_patience)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unread.end()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread.begin()

    def resume_writing(self) -> None:
        self._unread.end()
        super().resume_writing()

    def shutdown(self) -> None:
        super().shutdown()
        self._unread.hurry()

    def handle_parser_exception(self) -> None:
        """Send the close frame to a client that broke the protocol."""
        super().handle_parser_exception()
        self.disconnected = True


class _FaultLog:
    """A line for a request that can't be understood; some in a row, then one now and then."""

    def __init__(self) -> None:
        self._lines = TokenBucket(_LOGGED_A_SECOND)
        self._left_out = 0

    def log(self, client: tuple[str, int] | None, fault: Problem) -> None:
        """Log what was wrong, and whose it was."""
        if self._lines.try_acquire(1):
            self._left_out += 1
            return
        log.warning(
            "a request is refused before it is read",
            address=client[0] if client else None,
            status=fault.status,
            reason=fault.detail[:200],
            not_logged_before=self._left_out,
        )
        self._left_out = 0


class _BoundedConnection(RequestHeads):
    """uvicorn's own closes an idle connection after its first answer only.

    This one is closed, too, where the head of a request takes too long, the first one's from the
    start of the connection; and where an answer is not read for too long. A client that is still
    sending when it is closed is read for a while longer: it would meet a connection that is reset,
    and never see its answer.
    """

    def __init__(
        self,
        *args: Any,
        most: int,
        patience: float,
        too_many: bytes,
        faults: _FaultLog,
        **named: Any,
    ) -> None:
        super().__init__(*args, **named)
        self._most, self._patience, self._too_many = most, patience, too_many
        self._faults = faults
        self._discards = False
        self._discarded = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._end_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._under = transport
        self._unread = _Unread(transport, self._patience)
        self._joined = CoalescedWrites(transport, self.loop, self._end)
        super().connection_made(self._joined)
        too_many = len(self.connections) - self._most
        if too_many > 0:
            transport.write(self._too_many)
            if too_many > _TURNED_AWAY:
                transport.close()
            else:
                self._read_on(min(self._patience, _TURNED_AWAY_SECONDS))
        else:
            self._head_timer = self.loop.call_later(self._patience, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # uvicorn leaves it where the connection was reset
        self._unread.end()
        for timer in (self._head_timer, self._end_timer):
            _cancel(timer)

    def data_received(self, data: bytes) -> None:
        if self._discards:
            self._discarded += len(data)
            if self._discarded > (
                _MOST_DISCARDED_OF_CHUNKS if self.is_chunked else _MOST_DISCARDED
            ):
                self._under.close()
            return
        self._unset_keepalive_if_required()
        try:
            self.parse(data)
        except httptools.HttpParserError as error:
            self._discards = True
            if not self.is_full:
                self._refuse(self.fault or _fault_of(error))
        self._mind_the_head()

    def on_response_complete(self) -> None:
        self._joined.flush()
        super().on_response_complete()
        if self.pipeline:  # uvicorn would read on, and let any number wait
            self.flow.pause_reading()

    def handle_websocket_upgrade(self) -> None:
        self.transport = self._under
        super().handle_websocket_upgrade()
        if self._unread.is_awaited:  # of the answers before it
            self._unread.end()
            cast("_WebSocket", self._under.get_protocol()).pause_writing()

    def shutdown(self) -> None:
        self._stopping = True
        self._unread.hurry()
        if self.cycle is not None and self.cycle.scope.get(ENDLESS):
            self.transport.close()  # its answer has no end to wait for
        elif self._is_idle():
            self._joined.flush()
            self._under.close()
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread.begin()

    def resume_writing(self) -> None:
        self._unread.end()
        super().resume_writing()

    def _mind_the_head(self) -> None:
        """Wait for the rest of a head so long and no longer."""
        is_awaited = not self._discards and (
            self._in_head
            # Blanks between two requests have just ended the wait of uvicorn for the second.
            or (not self._in_message and self.transport is self._joined and self._is_idle())
        )
        if is_awaited and self._head_timer is None:
            self._head_timer = self.loop.call_later(self._patience, self._under.close)
        elif self._head_timer is not None and not is_awaited:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, fault: Problem) -> None:
        """Answer what can't be understood, behind the answers to the requests before it."""
        self._faults.log(self.client, fault)
        broken = self.cycle if self._in_message and not self._in_head else None
        if broken is not None and not broken.response_complete:  # its body, or its trailers
            if self.pipeline:
                self.pipeline.popleft()
            elif broken.response_started:
                self.transport.close()
                return
            else:
                broken.disconnected = True  # whoever waits for the rest of the body ends
                broken.message_event.set()
                self.cycle = None  # type: ignore[assignment]  # as before the first one
        refusal = self._refusal(fault)
        if self.pipeline or not self._is_idle():
            self.pipeline.appendleft((refusal, self.app))
        else:
            self._start_asgi_task(refusal, self.app)
        self.cycle = refusal

    def _refusal(self, fault: Problem) -> RequestResponseCycle:
        return RequestResponseCycle(
            scope={  # type: ignore[typeddict-unknown-key]
                "type": "http",
                "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
                "http_version": "1.1",
                "server": self.server,
                "client": self.client,
                "scheme": self.scheme or "http",
                "method": "",
                "path": "",
                "raw_path": b"",
                "root_path": self.root_path,
                "query_string": b"",
                "headers": [],
                "state": self.app_state.copy(),
                REFUSED: fault,
            },
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=False,
            on_response=self.on_response_complete,
        )

    def _end(self) -> None:
        """Close the connection, at once or when the client has read its answer."""
        is_sending = self._discards or self._in_message
        if is_sending and not self._stopping and not self._under.is_closing():
            self._read_on(self._patience)
        else:
            self._under.close()

    def _read_on(self, seconds: float) -> None:
        self._discards = True
        if self._under.can_write_eof():
            self._under.write_eof()
        self.flow.resume_reading()
        self._end_timer = self.loop.call_later(seconds, self._under.close)


def _fault_of(error: httptools.HttpParserError) -> Problem:
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return Problem(501, "the method is none of HTTP")
    if isinstance(error, httptools.HttpParserCallbackError | httptools.HttpParserInvalidURLError):
        return Problem(400, "the target of the request is no URL")
    return Problem(400, f"the request is not HTTP as it must be: {error}")


def _too_many(retry_after_seconds: int) -> bytes:
    later = {"Retry-After": str(retry_after_seconds), "Connection": "close"}
    answer = problem_response(503, "there are too many connections; connect again later", later)
    head = b"".join(b"%s: %s\r\n" % header for header in answer.raw_headers)
    return b"HTTP/1.1 503 Service Unavailable\r\n" + head + b"\r\n" + bytes(answer.body)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
