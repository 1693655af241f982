"""Answers to requests with heartbeats."""

from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import to_json
from starlette.types import Scope

from ingestion_api.heartbeats.batch import TOO_MANY_NEW_DEVICES
from ingestion_api.heartbeats.strict_decoder import DecodedBatch, Notice, Refusal
from ingestion_api.rejections.text import printable_text
from ingestion_api.rest.problems import Problem

JSON: Final = "application/json"
_JSON_HEADER: Final = (b"content-type", JSON.encode())
_APPLIED: Final = (b"preference-applied", b"return=minimal")
_SHOWN: Final = 64  # characters of a value
_TAKEN_ONE: Final = b'{"accepted":1,"rejected":0,"errors":[]}'

Answer = tuple[int, tuple[tuple[bytes, bytes], ...], bytes]  # status, headers and body


@dataclass(frozen=True, slots=True)
class IngestHeaders:
    """The headers of a request that matter for its answer."""

    media_type: str = JSON
    minimal: bool = False


def all_accepted(records: int, headers: IngestHeaders) -> Answer:
    """The answer where every record is taken."""
    if headers.minimal:
        return 201, (_JSON_HEADER, _APPLIED), b'{"accepted":%d,"rejected":0}' % records
    if records == 1:
        return 201, (_JSON_HEADER,), _TAKEN_ONE
    return 201, (_JSON_HEADER,), b'{"accepted":%d,"rejected":0,"errors":[]}' % records


def ingest_response(
    intake: DecodedBatch, headers: IngestHeaders, *, single: bool, retry_after: int | None = None
) -> Answer:
    """The answer where rows to keep are durable; a Problem 403, 422 or 429 where there are none.

    `single` is said of a path that takes one heartbeat, `retry_after` are the seconds after which
    new devices that were refused may be sent again.
    """
    if not (intake.refusals or intake.warnings):
        return all_accepted(intake.accepted, headers)
    answer: dict[str, Any] = {"accepted": intake.accepted, "rejected": intake.rejected}
    if not headers.minimal:
        answer["errors"] = list(map(_error, intake.refusals))
        if intake.warnings:
            answer["warnings"] = list(map(_warning, intake.warnings))
    later = {} if retry_after is None else {"Retry-After": str(retry_after)}
    if intake.accepted:
        applied = (_APPLIED,) if headers.minimal else ()
        again = tuple((name.lower().encode(), text.encode()) for name, text in later.items())
        return 207 if intake.refusals else 201, (_JSON_HEADER, *applied, *again), to_json(answer)
    what = "the heartbeat was refused" if single else "every heartbeat was refused"
    if all(refusal.code == "foreign_device" for refusal in intake.refusals):
        raise Problem(403, f"{what}: this API key may not write for these devices", **answer)
    if all(refusal.code == TOO_MANY_NEW_DEVICES for refusal in intake.refusals):
        raise Problem(
            429, f"{what}: too many new devices; send it again later", headers=later, **answer
        )
    where = "the answer without Prefer: return=minimal" if headers.minimal else "errors"
    raise Problem(422, f"{what}; {where} says why", **answer)


def _error(refusal: Refusal) -> dict[str, Any]:
    name = None if refusal.field is None else printable_text(refusal.field, _SHOWN)
    return {
        "index": refusal.index,
        "field": name,
        "reason": refusal.reason,
        "code": refusal.code,
    }


def _warning(warning: Notice) -> dict[str, Any]:
    value = None if warning.value is None else printable_text(warning.value, _SHOWN)
    return {
        "index": warning.index,
        "field": printable_text(warning.field, _SHOWN),
        "reason": warning.reason,
        "code": warning.code,
        "value": value,
    }


def read_headers(scope: Scope) -> IngestHeaders:
    """Content-Type, JSON where there is none, and whether Prefer asks for a small answer."""
    media_type, minimal = JSON, False
    name: bytes
    value: bytes
    for name, value in scope["headers"]:
        if name == b"content-type":
            media_type = value.decode("latin-1").partition(";")[0].strip().lower()
        elif name == b"prefer":
            minimal |= b"return=minimal" in value.lower().replace(b" ", b"")
    return IngestHeaders(media_type or JSON, minimal)
