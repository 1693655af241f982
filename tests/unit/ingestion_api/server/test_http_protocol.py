"""What a connection may bring, in whatever pieces, and how it ends."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

import pytest
import structlog
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from ingestion_api.server import http_protocol
from ingestion_api.server.http_protocol import bounded_connection, bounded_websocket
from ingestion_api.server.request_heads import MOST_HEAD_BYTES, MOST_HEADERS, MOST_WAITING
from ingestion_api.server.request_metrics import RequestMetricsMiddleware
from ingestion_api.settings import CollectorSettings

HEAD = b"POST /x HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Wire(asyncio.Transport):
    """What the collector sends to a client that it never meets."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.7", 4711), "sockname": ("127.0.0.1", 3000)})
        self.sent = b""
        self.is_half_closed = self.closed = self.is_paused = False
        self.protocol: Any = None

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def write(self, data: Any) -> None:
        assert not self.is_half_closed
        self.sent += data

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_half_closed = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it was sent: headers, and the body."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    names = [name.decode() for name, _ in scope["headers"]]
    await answer(send, 200, json.dumps({"headers": names, "body": body.decode()}).encode())


async def unwanted(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers without a look at the body."""
    await answer(send, 401, b"no key")


async def answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def configured(app: ASGIApp, most: int = 10, patience: float = 20) -> uvicorn.Config:
    settings = CollectorSettings(_env_file=None, body_timeout_seconds=patience)
    config = uvicorn.Config(
        RequestMetricsMiddleware(app),
        http=bounded_connection(most, settings),
        ws=bounded_websocket(settings),
        lifespan="off",
        access_log=False,
        log_config=None,
    )
    config.load()
    return config


class Connection:
    """A connection whose packets the test hands over one by one."""

    def __init__(self, app: ASGIApp = echo, state: ServerState | None = None, most: int = 10):
        config = configured(app, most)
        made: Any = config.http_protocol_class
        self.wire = Wire()
        self.protocol = made(config, state or ServerState(), {})
        self.protocol.connection_made(self.wire)

    async def get(self, *packets: bytes) -> bytes:
        """What has been sent back, after these."""
        for packet in packets:
            if not self.wire.closed:
                self.protocol.data_received(packet)
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        return self.wire.sent


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    asyncio.run(main())


def sent_back(*packets: bytes, app: ASGIApp = echo) -> bytes:
    """What comes back for these packets."""

    async def main() -> bytes:
        return await Connection(app).get(*packets)

    return asyncio.run(main())


def statuses(sent: bytes) -> list[int]:
    return [int(part[:3]) for part in sent.split(b"HTTP/1.1 ")[1:]]


def problem(sent: bytes) -> dict[str, Any]:
    """The last answer, which is a problem that ends the connection."""
    head, _, body = (b"HTTP/1.1 " + sent.split(b"HTTP/1.1 ")[-1]).partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert b"content-type: application/problem+json" in lines
    assert b"connection: close" in lines
    assert any(line.startswith(b"x-request-id: ") for line in lines)
    found: dict[str, Any] = json.loads(body)
    assert found["status"] == int(head[9:12])
    return found


def packets_of(text: bytes, size: int) -> list[bytes]:
    return [text[at : at + size] for at in range(0, len(text), size)]


LONG = b"a" * (2 * MOST_HEAD_BYTES)
MANY = b"".join(b"x%d: 1\r\n" % number for number in range(MOST_HEADERS + 1))
LINE = b"x" * 10_000
UPGRADE = b"Host: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
UPGRADING = (
    b"GET / HTTP/1.1\r\n" + UPGRADE + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("size", [1_000_000, 1_000, 7])
@pytest.mark.parametrize(
    ("begin", "status"),
    [
        (HEAD + b"X: " + LONG, 431),
        (HEAD + b"X: " + LONG + b"\r\n\r\n", 431),
        (HEAD + LONG, 431),
        (HEAD + MANY, 431),
        (HEAD + b"a:\r\n" * (MOST_HEADERS + 1), 431),
        (HEAD + (b"Y: " + b"b" * 3_000 + b"\r\n") * 20, 431),
        (b"GET /" + LONG, 414),
        (b"GET /" + LONG + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET " + b" " * len(LONG), 431),
        (b"\r\n" * len(LONG), 431),
    ],
    ids=[
        "a value",
        "a value in a whole head",
        "a name",
        "many headers",
        "many short headers",
        "long headers",
        "a target",
        "a target in a whole head",
        "blanks before the target",
        "empty lines",
    ],
)
def test_what_has_no_end_is_refused_while_it_is_read(size: int, begin: bytes, status: int) -> None:
    sent = sent_back(*packets_of(begin, size))
    assert statuses(sent) == [status]
    assert problem(sent)["status"] == status


@pytest.mark.parametrize("size", [65_536, 1_000, 7])
@pytest.mark.parametrize(
    "rest",
    [
        b"1;" + LONG * 2,
        (b"1;" + b"a" * 8_000 + b"\r\nx\r\n") * 20,
        b"2\r\n[]\r\n0\r\nX: " + LONG * 2,
        b"2\r\n[]\r\n0\r\n" + b"Z: 1\r\n" * len(LONG),
    ],
    ids=["an extension of a chunk", "extensions of chunks", "a trailer", "many trailers"],
)
def test_so_is_what_lies_around_a_body(size: int, rest: bytes) -> None:
    sent = sent_back(CHUNKED, *packets_of(rest, size))
    assert statuses(sent) == [431]
    assert problem(sent)["status"] == 431


def test_a_head_of_usual_size_is_taken_in_any_pieces() -> None:
    head = HEAD + b"".join(b"x%d: %s\r\n" % (n, b"v" * 250) for n in range(MOST_HEADERS - 3))
    whole = head + b"Content-Length: 2\r\n\r\n[]"
    for size in (1_000_000, 1_000, 7):
        assert statuses(sent_back(*packets_of(whole * 3, size))) == [200] * 3


def test_a_large_body_and_the_head_behind_it_come_in_one_packet() -> None:
    body = b"b" * (3 * MOST_HEAD_BYTES)
    post = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    assert statuses(sent_back(post + GET[:20], GET[20:])) == [200, 200]


def test_a_body_in_pieces_of_one_byte_is_taken() -> None:
    sent = sent_back(CHUNKED, *[b"1\r\nx\r\n" * 1_000] * 50, b"0\r\n\r\n")
    assert statuses(sent) == [200]
    assert sent.count(b"x" * 50_000) == 1


def test_trailers_do_not_pass_for_headers() -> None:
    sent = sent_back(CHUNKED + b"2\r\n[]\r\n0\r\nX-API-Key: wl_other\r\n\r\n")
    assert statuses(sent) == [200]
    assert b"x-api-key" not in sent.lower()


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (b"Transfer-Encoding: identity\r\n\r\n", 501),
        (b"Transfer-Encoding: xchunked\r\n\r\n", 501),
        (b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
        (b"Content-Length: +5\r\n\r\nhello", 400),
        (b"Content-Length: 0x5\r\n\r\nhello", 400),
        (b"Content-Length: 5, 5\r\n\r\nhello", 400),
        (b"Content-Length: -5\r\n\r\nhello", 400),
        (b"X: a\r\n b\r\nContent-Length: 5\r\n\r\nhello", 400),
        (b"X: a\nContent-Length: 5\n\nhello", 400),
        (b"X: a\x00b\r\n\r\n", 400),
        (b"Host: elsewhere\r\n\r\n", 400),
        (b"Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n", 400),
        (b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", 400),
    ],
)
def test_what_another_server_could_read_otherwise_is_refused(rest: bytes, status: int) -> None:
    sent = sent_back(HEAD + rest, GET)
    assert statuses(sent) == [status]
    assert problem(sent)["status"] == status


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"\x16\x03\x01\x02\x00", 501),
        (b"GET /\r\n\r\n", 505),
        (b"GET / HTTP/3.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: Host\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / x HTTP/1.1\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + UPGRADE + b"X: " + LINE + b"\r\n\r\n", 431),
        (b"GET /" + LINE + b" HTTP/1.1\r\n" + UPGRADE + b"\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + UPGRADE + b"Content-Length: 1\r\n\r\nx", 400),
        (b"GET / HTTP/1.1\r\n" + UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_of_these_is_a_problem(sent: bytes, status: int) -> None:
    assert problem(sent_back(sent))["status"] == status


def test_a_websocket_does_not_begin_before_the_last_answer_ends() -> None:
    async def test() -> None:
        connection, may = Connection(slow := Slow()), slow.may
        await connection.get(GET + b"GET / HTTP/1.1\r\n" + UPGRADE + b"\r\n")
        may.set()
        assert statuses(await connection.get(b"")) == [200, 400]

    run(test)


def test_a_broken_body_is_told_to_the_client_and_ends_the_request() -> None:
    sent = sent_back(CHUNKED + b"2\r\n[]\r\n", b"no number\r\n")
    assert statuses(sent) == [400]
    assert "chunk size" in problem(sent)["detail"]


def test_a_client_that_offers_another_protocol_is_answered_and_its_body_is_read() -> None:
    offer = (
        HEAD + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"
        b"Content-Length: 5\r\n\r\n"
    )
    for packets in ([offer + b"hello"], [offer, b"hello"], packets_of(offer + b"hello", 9)):
        sent = sent_back(*packets, GET)
        assert statuses(sent) == [200, 200]
        assert b'"body": "hello"' in sent


def test_a_refusal_waits_for_the_answers_before_it() -> None:
    async def test() -> None:
        connection, may = Connection(slow := Slow()), slow.may
        assert await connection.get(GET + GET + b"nonsense\r\n\r\n") == b""
        may.set()
        assert statuses(await connection.get(b"")) == [200, 200, 501]
        assert connection.wire.is_half_closed

    run(test)


class Slow:
    """Answers when it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await self.may.wait()
        await answer(send, 200, b"late")


def test_of_very_many_requests_in_a_row_some_are_answered_and_the_connection_ends() -> None:
    async def test() -> None:
        connection, may = Connection(slow := Slow()), slow.may
        await connection.get(GET * 5_000)
        assert len(connection.protocol.pipeline) == MOST_WAITING
        may.set()
        for _ in range(100):
            await connection.get(GET * 5_000)
        assert statuses(connection.wire.sent) == [200] * (MOST_WAITING + 1)
        assert connection.wire.sent.count(b"connection: close") == 1
        assert connection.wire.is_half_closed

    run(test)


def test_while_requests_wait_no_more_are_read() -> None:
    async def test() -> None:
        connection = Connection(Slow())
        await connection.get(GET * 50)
        assert connection.wire.is_paused
        pipeline = connection.protocol.pipeline
        connection.protocol.cycle = pipeline[0][0]
        connection.protocol.on_response_complete()  # as that of the first of them
        assert len(pipeline) == 48
        assert connection.wire.is_paused

    run(test)


@pytest.mark.parametrize("frames", [b"\xff" * 20, b"\x88\x80abcd", b"\x81\xff" + b"\x01" * 12])
def test_a_client_that_ends_a_websocket_however_is_no_fault_in_the_log(
    frames: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    may = asyncio.Event()

    async def stream(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await may.wait()
        await send({"type": "websocket.send", "text": "news"})

    async def test() -> None:
        connection = Connection(stream)
        assert statuses(await connection.get(UPGRADING)) == [101]
        connection.wire.protocol.data_received(frames)
        may.set()
        for _ in range(20):
            await asyncio.sleep(0)
        assert b"news" not in connection.wire.sent
        assert not connection.protocol.tasks

    run(test)
    assert [line.message for line in caplog.records if line.levelname == "ERROR"] == []


# -- the end of a connection -----------------------------------------------------------------------


def test_an_answer_before_the_body_is_whole_ends_the_connection_once_the_client_saw_it() -> None:
    async def test() -> None:
        connection = Connection(unwanted)
        sent = await connection.get(HEAD + b"Content-Length: 1000000\r\n\r\n" + b"x" * 100_000)
        assert statuses(sent) == [401]
        assert b"connection: close" in sent
        wire = connection.wire
        assert wire.is_half_closed
        assert not wire.closed
        assert not wire.is_paused
        for _ in range(30):  # it is discarded: what looks like a request is none
            await connection.get(GET * 10_000)
        assert statuses(wire.sent) == [401]
        assert not wire.closed
        mebibyte = bytes(2**20)
        for _ in range(256):
            connection.protocol.data_received(mebibyte)
        assert wire.closed

    run(test)


def test_of_a_body_without_an_announced_end_less_is_read_after_the_answer() -> None:
    async def test() -> None:
        connection = Connection(unwanted)
        await connection.get(CHUNKED + b"2\r\n[]\r\n")
        for closed in (False, True):
            assert connection.wire.closed is closed
            for _ in range(9):
                connection.protocol.data_received(bytes(2**20))

    run(test)


def test_an_answer_to_a_whole_body_that_nobody_read_keeps_the_connection() -> None:
    sent = sent_back(HEAD + b"Content-Length: 2\r\n\r\n[]", GET, app=unwanted)
    assert statuses(sent) == [401, 401]
    assert b"connection: close" not in sent


def test_a_client_that_waits_to_be_asked_for_its_body_is_not_asked_for_nothing() -> None:
    head = HEAD + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    refused = sent_back(head, app=unwanted)
    assert statuses(refused) == [401]
    assert b"connection: close" in refused
    taken = sent_back(head, b"[]", GET)
    assert statuses(taken) == [100, 200, 200]
    assert b"connection: close" not in taken


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_a_connection_that_is_lost_leaves_no_timer(error: Exception | None) -> None:
    async def test() -> None:
        for packets in ([], [GET], [GET[:9]], [HEAD + b"Content-Length: 9\r\n\r\n"], [b"?"]):
            state = ServerState()
            connection = Connection(unwanted, state)
            await connection.get(*packets)
            connection.protocol.connection_lost(error)
            assert not state.connections
            assert not [timer for timer in timers() if not timer.cancelled()]

    run(test)


def timers() -> list[asyncio.TimerHandle]:
    loop: Any = asyncio.get_running_loop()
    found: list[asyncio.TimerHandle] = loop._scheduled
    return found


def test_empty_lines_between_requests_keep_no_connection_for_ever() -> None:
    async def test() -> None:
        connection = Connection()
        await connection.get(GET, b"\r\n")
        now = asyncio.get_running_loop().time()
        (end,) = [timer for timer in timers() if not timer.cancelled()]
        assert end.when() - now < 21
        assert statuses(await connection.get(GET)) == [200, 200]

    run(test)


LITTLE = 40_000  # more than the sockets of these tests hold, and too little to hold up a writer


async def little(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with a little, and to a WebSocket, too."""
    if scope["type"] == "http":
        await answer(send, 200, bytes(LITTLE))
        return
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "bytes": bytes(LITTLE)})
    await receive()


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition, with a deadline."""
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited too long")


def is_unread(state: ServerState) -> bool:
    """True while a client leaves something unread."""
    connections: set[Any] = state.connections
    return any(connection._unread.is_awaited for connection in connections)


def with_slow_reader(
    test: Callable[[socket.socket, ServerState], Awaitable[None]], patience: float
) -> None:
    """Run a test with a client that has a connection to the protocol, in the server's own loop."""
    config, state = configured(little, patience=patience), ServerState()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: Any = config.http_protocol_class
        with socket.socket() as listening, socket.socket() as client:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
            listening.bind(("127.0.0.1", 0))
            server = await loop.create_server(lambda: made(config, state, {}), sock=listening)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
            client.setblocking(False)
            await loop.sock_connect(client, listening.getsockname())
            try:
                async with asyncio.timeout(30):
                    await test(client, state)
            finally:
                server.close()
                for connection in list(state.connections):
                    connection.transport.abort()
                await asyncio.sleep(0.1)

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(main())


@pytest.mark.parametrize(
    "sent",
    [
        [GET],
        [GET + GET[:20]],
        [GET + b"nonsense\r\n\r\n"],
        [UPGRADING],
        [GET, UPGRADING],
    ],
    ids=["a request", "half a head more", "a refusal", "a WebSocket", "one after a request"],
)
def test_a_client_that_never_reads_has_its_connection_no_longer_than_others(
    sent: list[bytes],
) -> None:
    async def test(client: socket.socket, state: ServerState) -> None:
        for packet in sent:
            with suppress(ConnectionError):  # on a busy machine it may have ended by now
                await asyncio.get_running_loop().sock_sendall(client, packet)
            await asyncio.sleep(0.1)
        await until(lambda: not state.connections)

    with_slow_reader(test, patience=0.3)


@pytest.mark.parametrize("sent", [GET, UPGRADING], ids=["a request", "a WebSocket"])
def test_a_stop_does_not_wait_long_for_it(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "_UNREAD_AT_THE_END", 0.3)

    async def test(client: socket.socket, state: ServerState) -> None:
        await asyncio.get_running_loop().sock_sendall(client, sent)
        await until(lambda: is_unread(state))
        (connection,) = state.connections
        connection.shutdown()
        await until(lambda: not state.connections)

    with_slow_reader(test, patience=600)


def test_a_client_that_reads_late_has_all_and_its_connection_stays() -> None:
    async def test(client: socket.socket, state: ServerState) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(3):
            await loop.sock_sendall(client, GET)
            await asyncio.sleep(0.1)
            received = b""
            while received.count(b"\0") < LITTLE:
                received += await loop.sock_recv(client, 4_096)
            assert statuses(received) == [200]
        (connection,) = state.connections
        assert not connection.transport.is_closing()

    with_slow_reader(test, patience=20)


def test_a_connection_too_many_is_told_so_and_read_for_a_while() -> None:
    async def test() -> None:
        state = ServerState()
        first = [Connection(echo, state, most=2) for _ in range(2)]
        further = [Connection(echo, state, most=2) for _ in range(100)]
        told = problem_without_id(further[0].wire.sent)
        assert told["status"] == 503
        assert b"retry-after: 1\r\n" in further[0].wire.sent.lower()
        assert [one.wire.closed for one in further] == [False] * 64 + [True] * 36
        assert all(one.wire.is_half_closed or one.wire.closed for one in further)
        assert statuses(await first[0].get(GET)) == [200]

    run(test)


def problem_without_id(sent: bytes) -> dict[str, Any]:
    head, _, body = sent.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    found: dict[str, Any] = json.loads(body)
    return found


def test_the_log_names_the_address_and_is_bounded() -> None:
    async def test() -> None:
        first = Connection()
        for _ in range(1_000):
            other = Connection()
            other.protocol._faults = first.protocol._faults
            other.protocol.data_received(b"x" * 1_000)

    with structlog.testing.capture_logs() as lines:
        run(test)
    assert {line["address"] for line in lines} == {"192.0.2.7"}
    assert len(lines) < 20
    assert max(len(str(line)) for line in lines) < 600
