"""Pagination cursors: the position of the next page, as text that a caller only hands back.

A cursor holds the last row of the page before, so rows that come or go between two pages neither
shift nor repeat the others.
"""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from ingestion_api.rest.etags import fingerprint
from ingestion_api.rest.problems import Problem

LIFETIME: Final = timedelta(hours=1)
# Collectors share a cursor, and their clocks differ.
_AHEAD: Final = timedelta(minutes=5)

_T = TypeVar("_T")


def write_cursor(question: Sequence[object], position: Sequence[object], now: datetime) -> str:
    """The cursor of the page after `position`, of values that JSON can hold.

    `question` is all that the pages of one answer share: the call, its filters, its order.
    """
    content = [int(now.timestamp()), fingerprint(*question), position]
    return base64.urlsafe_b64encode(to_json(content)).decode()


def read_cursor(
    cursor: str, question: Sequence[object], position: TypeAdapter[_T], now: datetime
) -> _T:
    """Return the position that `write_cursor` was given, checked by its type.

    Problem 410 if the cursor is older than LIFETIME, 422 if it is none or of another question.
    """
    try:
        text = base64.b64decode(cursor.encode("ascii"), b"-_", validate=True)
        made, asked, where = _CONTENT.validate_json(text, strict=True)
        found = position.validate_json(to_json(where))
    except (binascii.Error, UnicodeError, ValidationError, ValueError):
        raise _refused("is not one that this call gave; start again without it") from None
    if made > (now + _AHEAD).timestamp():
        raise _refused("is not one that this call gave; start again without it")
    if made < (now - LIFETIME).timestamp():
        raise Problem(
            410,
            f"cursor: has expired, it is good for {LIFETIME / timedelta(minutes=1):.0f} minutes; "
            "start again without it",
        )
    if asked != fingerprint(*question):
        raise _refused("is of other parameters; repeat those of the first page with it")
    return found


_CONTENT: Final = TypeAdapter(tuple[int, str, list[object]])


def _refused(why: str) -> Problem:
    return Problem(422, f"cursor: {why}")
