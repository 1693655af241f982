"""Parameters that several calls share: ids, moments, windows."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import Path, Query
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from ingestion_api.heartbeats.contract import ID_PATTERN, TIME_REASON
from ingestion_api.rest.models import Answer

_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
# A window of which nothing is given.
LAST_HOURS: Final = timedelta(hours=24)

_NUMBER: Final = re.compile(r"[-+]?[0-9.]+")
_LOST_PLUS: Final = re.compile(r".+[T ].+ [0-9]{2}(?::?[0-9]{2})?")


def _is_no_number(sent: Any) -> Any:
    # Pydantic would take it for seconds or milliseconds, whichever lies nearer to today.
    if isinstance(sent, int | float) or (isinstance(sent, str) and _NUMBER.fullmatch(sent)):
        raise ValueError(TIME_REASON)
    if isinstance(sent, str) and _LOST_PLUS.fullmatch(sent):
        raise ValueError("the + of an offset is a space in a URL: write %2B02:00, or a time in Z")
    return sent


def _in_range(moment: datetime) -> datetime:
    # Compared as a plain number of seconds: near the ends of the calendar UTC does not exist.
    if not _EARLIEST.timestamp() <= moment.timestamp() < _LATEST.timestamp():
        raise ValueError("must lie between the years 2000 and 2200")
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, BeforeValidator(_is_no_number), AfterValidator(_in_range)]

PathId = Annotated[str, Path(pattern=ID_PATTERN, description="id of the device")]
OptionalVehicleId = Annotated[
    str | None, Query(alias="vehicleId", pattern=ID_PATTERN, description="only this vehicle")
]
OptionalMeterId = Annotated[
    str | None, Query(alias="meterId", pattern=ID_PATTERN, description="only this meter")
]
Start = Annotated[
    Moment | None, Query(description="start of the window, included; ISO 8601 with a zone")
]
End = Annotated[
    Moment | None, Query(description="end of the window, excluded; ISO 8601 with a zone")
]


class Period(Answer):
    """A half-open UTC window."""

    start: datetime = Field(description="included")
    end: datetime = Field(description="excluded")


class BadWindow(ValueError):
    """The window is reversed, empty or too long."""


def window(
    start: datetime | None, end: datetime | None, default_end: datetime, longest_days: int
) -> Period:
    """The window asked for, the last 24 hours where nothing is given; BadWindow if it is none."""
    end = end or default_end
    start = start or end - LAST_HOURS
    if start >= end:
        raise BadWindow(f"start ({start.isoformat()}) must be before end ({end.isoformat()})")
    if end - start > timedelta(days=longest_days):
        raise BadWindow(f"a window may have {longest_days} days at most; ask for parts of it")
    return Period(start=start, end=end)
