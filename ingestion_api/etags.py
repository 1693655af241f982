"""ETag and If-None-Match (RFC 9110) for answers that seldom change."""

from typing import Annotated, Any, Final

from fastapi import Header
from starlette.responses import Response

IfNoneMatch = Annotated[
    str | None, Header(description="ETags of answers that the caller has; 304 if one still holds")
]

NOT_MODIFIED: Final[dict[int | str, dict[str, Any]]] = {
    304: {"description": "the answer is still the one of this ETag", "model": None}
}

_REVALIDATE: Final = "no-cache"  # kept, but asked for again before each use


def is_known(tag: str, if_none_match: str | None) -> bool:
    """Whether the caller has the answer of this tag; weak comparison, as for any GET."""
    if if_none_match is None:
        return False
    known = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
    return "*" in known or f'"{tag}"' in known


def tagged(tag: str) -> dict[str, str]:
    """The headers of an answer with this tag."""
    return {"ETag": f'"{tag}"', "Cache-Control": _REVALIDATE}


def not_modified(tag: str) -> Response:
    """304 without a body."""
    return Response(status_code=304, headers=tagged(tag))
