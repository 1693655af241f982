"""Strict parsing of request heads, bounded in size, against request smuggling.

What another server in front could understand differently is refused: such requests smuggle others.
"""

from typing import Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ingestion_api.rest.problems import Problem
from ingestion_api.rest.request_bodies import ARRIVED

MOST_HEAD_BYTES: Final = 32_768  # so long may trailers be, too, and what frames the parts of a body
MOST_HEADERS: Final = 100
MOST_TARGET_BYTES: Final = 16_384
MOST_WAITING: Final = 100  # requests that wait on a connection for the answer to one before

_WEBSOCKET_LINE: Final = 8_000  # what the library that answers WebSockets takes
_OF_AN_UPGRADE: Final = frozenset({b"connection", b"upgrade", b"http2-settings"})
_FRAME_BYTES: Final = 16  # for each byte of a body so many may frame it: the worst honest is 5


class RequestHeads(HttpToolsProtocol):
    """uvicorn's protocol, but for what it keeps of a head.

    `fault` is set, and a callback of the parser fails, where a head must not be read on.
    """

    fault: Problem | None = None
    is_full = False  # no further request of this connection is read
    is_chunked = False  # the request that arrives has not said how long it is

    _in_head = True  # or before it
    _in_message = False
    _has_host = False
    _keeps_alive = True
    _stopping = False
    _framing_bytes = 0  # of late, those that were not of a body

    def parse(self, data: bytes) -> None:
        """Read what has arrived; HttpParserError where `fault` says why, or else it is no HTTP."""
        self._framing_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                if not self._is_idle():
                    self._fail(Problem(400, "a WebSocket can't begin before the last answer ends"))
                self.handle_websocket_upgrade()
            else:
                self._parse_without_upgrade(data[upgrade.args[0] :])
        if self._framing_bytes > MOST_HEAD_BYTES:
            self._fail(_head_too_large())

    def on_message_begin(self) -> None:
        """A request begins."""
        if len(self.pipeline) >= MOST_WAITING:
            self.is_full = True
            self.cycle.keep_alive = False
            raise httptools.HttpParserError("the connection is closed after these")
        self._in_head = self._in_message = True
        self.is_chunked = self._has_host = False
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self.url += url
        if len(self.url) > MOST_TARGET_BYTES:
            self._fail(Problem(414, f"the URL is longer than {MOST_TARGET_BYTES:,} bytes"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer: nobody asks for these, and they must not pass for headers."""
        if not self._in_head:
            return
        if len(self.headers) >= MOST_HEADERS or (
            self._framing_bytes > MOST_HEAD_BYTES  # or else the head can't be as long, either
            and len(name) + len(value) + sum(len(a) + len(b) for a, b in self.headers)
            > MOST_HEAD_BYTES
        ):
            self._fail(_head_too_large())
        name = name.lower()
        if name in {b"host", b"transfer-encoding"}:
            self._check(name, value)
            self._has_host = self._has_host or name == b"host"
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole: a request is answered from here on."""
        self._framing_bytes = 0
        version = self.parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            self._fail(Problem(505, "the request must be one of HTTP 1.1, or 1.0"))
        if version == "1.1" and not self._has_host:
            self._fail(Problem(400, "Host is missing"))
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                self._fail(Problem(501, "this is no proxy: it connects nobody with others"))
            if not self._should_upgrade():
                self._in_head = False
                return  # it is read once more, without the upgrade
            self._check_upgrade()
        before = self.cycle
        super().on_headers_complete()
        self._in_head = False
        if self.cycle is not before:
            # What is answered before the body has arrived ends the connection, or else nobody would
            # know whether the rest of the body still comes.
            self._keeps_alive, self.cycle.keep_alive = self.cycle.keep_alive, False

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        self._framing_bytes = max(0, self._framing_bytes - _FRAME_BYTES * len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._in_message = False
        self._framing_bytes = 0
        if self.parser.should_upgrade():
            return
        self.cycle.scope[ARRIVED] = True  # type: ignore[typeddict-unknown-key]
        if not self._stopping:
            self.cycle.keep_alive = self._keeps_alive
        super().on_message_complete()

    def _should_upgrade(self) -> bool:
        return self.parser.get_method() == b"GET" and super()._should_upgrade()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _check(self, name: bytes, value: bytes) -> None:
        if any(name == before for before, _ in self.headers):
            self._fail(Problem(400, f"{name.decode()} is there twice"))
        if name == b"transfer-encoding":
            if value.strip().lower() != b"chunked":
                self._fail(Problem(501, "Transfer-Encoding must be chunked, or left out"))
            if self.parser.get_http_version() != "1.1":
                self._fail(Problem(400, "Transfer-Encoding is not of HTTP/1.0"))
            self.is_chunked = True

    def _check_upgrade(self) -> None:
        """Refuse the requests that the WebSocket library would take for an error of the server."""
        if len(self.url) > _WEBSOCKET_LINE:
            self._fail(Problem(414, f"the URL is longer than {_WEBSOCKET_LINE:,} bytes"))
        for name, value in self.headers:
            if len(name) + len(value) > _WEBSOCKET_LINE:
                self._fail(_head_too_large())
            if name in {b"content-length", b"transfer-encoding"}:
                self._fail(Problem(400, "the request for a WebSocket has no body"))

    def _parse_without_upgrade(self, rest: bytes) -> None:
        """Read a request again, and its body, that asks for a protocol which is not spoken here.

        The parser takes for granted that the upgrade takes place, and passes over the body.
        """
        parts = [self.parser.get_method(), b" ", self.url, b" HTTP/"]
        parts += [self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name not in _OF_AN_UPGRADE:
                parts += [name, b": ", value, b"\r\n"]
            elif name == b"connection" and b"close" in value.lower():
                parts += [b"connection: close\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parse(b"".join([*parts, b"\r\n", rest]))

    def _fail(self, fault: Problem) -> None:
        self.fault = fault
        raise httptools.HttpParserError(fault.detail)


def _head_too_large() -> Problem:
    return Problem(
        431,
        f"the head of a request may have {MOST_HEADERS} headers and {MOST_HEAD_BYTES:,} bytes, "
        "and so many its trailers",
    )
