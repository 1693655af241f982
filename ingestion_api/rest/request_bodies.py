"""Request bodies: bounded in size and time, decompressed."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa
from starlette.types import Message, Receive, Scope

from ingestion_api.rest.problems import Problem
from ingestion_api.settings import CollectorSettings

ARRIVED: Final = "wattlake.arrived"  # in the scope of a request: all of its body is here

_PACKINGS: Final = {b"gzip": "gzip", b"x-gzip": "gzip", b"zstd": "zstd"}
_NOT_PACKED: Final = (None, b"", b"identity")
_AT_ONCE: Final = 262_144  # to unpack more bytes could hold up the event loop for milliseconds


class RequestBodies:
    """The bodies that are being received or worked on; together they have a bound, too.

    A body counts by what has arrived of it, so that a slow client holds no room by a promise.
    """

    def __init__(self, settings: CollectorSettings) -> None:
        self._settings = settings
        self._arriving = 0  # bytes

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """The unpacked body of a request.

        Raises a Problem: 400 for a body that ends early or can't be unpacked, 408 for one that
        takes too long, 413 for one that is too large, packed or not, 415 for an unknown packing,
        503 while too much is arriving.
        """
        announced, packing = _announced(scope)
        if packing not in _NOT_PACKED and packing not in _PACKINGS:
            raise Problem(415, "Content-Encoding must be gzip or zstd, or left out")
        if announced is not None and announced > self._settings.max_body_bytes:
            raise self._too_large()
        if ARRIVED in scope:
            message = await receive()  # the timer would cost more than all the rest
        else:
            message = await self._next(receive, self._settings.body_timeout_seconds)
        if message.get("more_body"):
            body = await self._rest(receive, message)
        else:
            body = _chunk(message)
        if packing in _NOT_PACKED:
            if len(body) > self._settings.max_body_bytes:
                raise self._too_large()
            return body
        return await self._unpacked(body, _PACKINGS[packing])

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Count a body as arriving until it is answered; Problem 503 over the bound."""
        self._arriving += size
        try:
            if self._arriving > self._settings.arriving_bytes:
                raise self._too_busy()
            yield
        finally:
            self._arriving -= size

    async def _rest(self, receive: Receive, message: Message) -> bytes:
        body, size = bytearray(), 0  # no list of chunks: those of a slow client may be tiny
        deadline = asyncio.get_running_loop().time() + self._settings.body_timeout_seconds
        try:
            while True:
                chunk = _chunk(message)
                body += chunk
                size += len(chunk)
                self._arriving += len(chunk)
                if size > self._settings.max_body_bytes:
                    raise self._too_large()
                if self._arriving > self._settings.arriving_bytes:
                    raise self._too_busy()
                if not message.get("more_body"):
                    return bytes(body)
                left = deadline - asyncio.get_running_loop().time()
                message = await self._next(receive, left)
        finally:
            self._arriving -= size

    async def _next(self, receive: Receive, seconds: float) -> Message:
        try:
            async with asyncio.timeout(seconds):
                return await receive()
        except TimeoutError:
            raise Problem(
                408, f"the body took longer than {self._settings.body_timeout_seconds:g} seconds"
            ) from None

    async def _unpacked(self, body: bytes, packing: str) -> bytes:
        limit = self._settings.max_body_bytes
        try:
            if len(body) <= _AT_ONCE:
                unpacked = _unpack(body, packing, _AT_ONCE + 1)
                if len(unpacked) <= _AT_ONCE:
                    return unpacked
            with self.reserve(len(body)):
                unpacked = await asyncio.to_thread(_unpack, body, packing, limit + 1)
        except OSError as error:
            raise Problem(400, f"the body is not {packing}: {error}") from None
        if len(unpacked) > limit:
            raise self._too_large("unpacked ")
        return unpacked

    def _too_large(self, what: str = "") -> Problem:
        return Problem(
            413,
            f"the {what}body is larger than {self._settings.max_body_bytes:,} bytes; "
            "send it in parts",
        )

    def _too_busy(self) -> Problem:
        later = {"Retry-After": str(self._settings.retry_after_seconds)}
        return Problem(503, "too much is arriving at once; send again later", headers=later)


def _announced(scope: Scope) -> tuple[int | None, bytes | None]:
    """Content-Length and Content-Encoding."""
    length, packing = None, None
    for name, value in scope["headers"]:
        if name == b"content-length":
            length = int(value) if value.isdigit() else None
        elif name == b"content-encoding":  # given twice it is a list: packed twice
            packing = (packing + b"," if packing else b"") + value.strip().lower()
    return length, packing


def _chunk(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise Problem(400, "the body ended early")
    chunk: bytes = message.get("body", b"")
    return chunk


def _unpack(body: bytes, packing: Any, most: int) -> bytes:
    """At most so many bytes; a bomb goes off no further. OSError if the body is not packed so."""
    with pa.input_stream(pa.py_buffer(body), compression=packing) as stream:
        unpacked: bytes = stream.read(most)
    return unpacked
