"""A request's body is read up to its limit, within its time, and unpacked once."""

import asyncio
import gzip
import zlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from starlette.types import Message

from ingestion_api.heartbeats.fast_decoder import has_too_many_values
from ingestion_api.rest.problems import Problem
from ingestion_api.rest.request_bodies import RequestBodies
from ingestion_api.settings import CollectorSettings

LIMIT = 1_000_000
BLANKS = b" " * LIMIT


def bodies(**changed: Any) -> RequestBodies:
    settings = {"max_body_bytes": LIMIT, "arriving_bytes": 3 * LIMIT, **changed}
    return RequestBodies(CollectorSettings(_env_file=None, **settings))


def read(
    *chunks: bytes,
    packing: Sequence[str] = (),
    ends: bool = True,
    into: RequestBodies | None = None,
) -> bytes:
    """What is read of a body that arrives in chunks."""
    messages: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks
    ]
    messages.append({"type": "http.request"} if ends else {"type": "http.disconnect"})
    headers = [(b"content-encoding", one.encode()) for one in packing]

    async def receive() -> Message:
        return messages.pop(0)

    async def main() -> bytes:
        return await (into or bodies()).read({"type": "http", "headers": headers}, receive)

    return asyncio.run(main())


def refused(*chunks: bytes, packing: Sequence[str] = (), **other: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        read(*chunks, packing=packing, **other)
    return caught.value


def zstd(body: bytes) -> bytes:
    packed: bytes = pa.compress(body, codec="zstd", asbytes=True)
    return packed


def test_chunks_are_put_together() -> None:
    assert read(b"a", b"", b"bc" * 1000, b"d") == b"a" + b"bc" * 1000 + b"d"


@pytest.mark.parametrize(
    ("packing", "packed"),
    [
        ("gzip", gzip.compress(b"text", mtime=0)),
        ("GZip ", gzip.compress(b"text", mtime=0)),
        ("x-gzip", gzip.compress(b"te", mtime=0) + gzip.compress(b"xt", mtime=0)),
        ("zstd", zstd(b"text")),
        ("zstd", zstd(b"te") + zstd(b"xt")),
        ("identity", b"text"),
        ("", b"text"),
    ],
)
def test_a_packed_body_is_unpacked(packing: str, packed: bytes) -> None:
    assert read(packed[:3], packed[3:], packing=[packing]) == b"text"


@pytest.mark.parametrize("size", [LIMIT, LIMIT // 2])
def test_a_large_body_is_unpacked_to_its_end(size: int) -> None:
    assert read(gzip.compress(BLANKS[:size], mtime=0), packing=["gzip"]) == BLANKS[:size]
    assert read(zstd(BLANKS[:size]), packing=["zstd"]) == BLANKS[:size]


def test_it_is_unpacked_only_once() -> None:
    inner = gzip.compress(b"text", mtime=0)
    assert read(gzip.compress(inner, mtime=0), packing=["gzip"]) == inner


@pytest.mark.parametrize(
    "packing",
    [["br"], ["deflate"], ["gzip, gzip"], ["gzip,zstd"], ["gzip", "gzip"], ["gzip", "br"], ["*"]],
)
def test_another_packing_or_two_of_them_are_415(packing: list[str]) -> None:
    assert refused(gzip.compress(b"text", mtime=0), packing=packing).status == 415


@pytest.mark.parametrize(
    ("packing", "packed"),
    [
        ("gzip", b"garbage"),
        ("gzip", gzip.compress(b"text" * 99, mtime=0)[:-9]),
        ("gzip", gzip.compress(b"text", mtime=0)[:-1]),
        ("gzip", gzip.compress(b"text", mtime=0) + b"garbage"),
        ("gzip", gzip.compress(b"text", mtime=0)[:-6] + b"\0\0\4\0\0\0"),
        ("gzip", zlib.compress(b"text")[2:]),
        ("gzip", zstd(b"text")),
        ("zstd", b"garbage"),
        ("zstd", zstd(b"text" * 99)[:-3]),
        ("zstd", zstd(b"text") + b"garbage"),
        ("zstd", gzip.compress(b"text", mtime=0)),
    ],
)
def test_what_is_not_packed_so_or_is_cut_is_400(packing: str, packed: bytes) -> None:
    problem = refused(packed, packing=[packing])
    assert problem.status == 400
    assert problem.detail.startswith(f"the body is not {packing}: ")


def test_more_than_the_limit_is_413_packed_or_not() -> None:
    assert read(BLANKS) == BLANKS
    assert refused(BLANKS, b"x").status == 413
    for packing, packed in (
        ("gzip", gzip.compress(BLANKS + b"x", mtime=0)),
        ("zstd", zstd(BLANKS + b"x")),
    ):
        problem = refused(packed, packing=[packing])
        assert problem.status == 413
        assert "unpack" in problem.detail


def test_a_body_that_ends_early_is_400() -> None:
    assert refused(ends=False).status == 400
    assert refused(b"[", b"{", ends=False).status == 400


def test_one_that_takes_too_long_is_408() -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def main() -> None:
        await bodies(body_timeout_seconds=0.01).read({"type": "http", "headers": []}, receive)

    with pytest.raises(Problem) as caught:
        asyncio.run(main())
    assert caught.value.status == 408


def test_what_arrives_and_what_waits_for_its_answer_have_a_bound_together() -> None:
    shared = bodies(arriving_bytes=LIMIT + 10)
    with shared.reserve(LIMIT):
        problem = refused(b"x" * 10, b"x", into=shared)
        assert problem.status == 503
        assert problem.headers
        assert problem.headers["Retry-After"] == "1"
        assert read(b"x" * 10, into=shared) == b"x" * 10
        with pytest.raises(Problem), shared.reserve(11):
            raise AssertionError
        assert (
            refused(gzip.compress(bytes(LIMIT // 2), 0), packing=["gzip"], into=shared).status
            == 503
        )
    assert read(BLANKS, into=shared) == BLANKS


@pytest.mark.parametrize(
    ("body", "too_many"),
    [
        (b"[" + b"{}," * 1279 + b"{}]", True),
        (b"[" + b"1," * 639 + b"1]", False),
        (b"[" + b"1," * 640 + b"1]", True),
        (b"[" * 641, True),
        (b"\n" * 641, True),
        (b'{"note":"' + b",[{" * 1000 + b'"}', False),
        (b'{"note":"\\\\\\"' + b",[{" * 1000 + b'"}', False),
        (b'{"note":"\\\\",' + b"[{" * 1000, True),
    ],
)
def test_too_many_values_are_told_from_long_texts(body: bytes, too_many: bool) -> None:
    assert has_too_many_values(body, records=10) == too_many
