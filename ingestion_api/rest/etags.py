"""ETag and If-None-Match (RFC 9110) for answers that seldom change."""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import Header
from pydantic_core import to_json
from starlette.responses import Response

import lake

IfNoneMatch = Annotated[
    list[str] | None,
    Header(description="ETags of answers that the caller has; 304 if one still holds"),
]

NOT_MODIFIED: Final[dict[int | str, dict[str, Any]]] = {
    304: {"description": "the answer is still the one of an ETag in If-None-Match", "model": None}
}

_HEADERS: Final = {
    "Cache-Control": "no-cache",  # kept, but asked for again before each use
    "Vary": "Accept",  # where there are several formats, each has a tag of its own
}


def fingerprint(*parts: object) -> str:
    """A short text that is the same where all parts are, in every process; JSON must hold them."""
    return hashlib.sha256(to_json(parts)).hexdigest()[:32]


def etag_matches(tag: str, if_none_match: list[str] | None) -> bool:
    """Return whether the caller has the answer of this tag, made by the code that runs.

    The comparison is the weak one, as for any GET.
    """
    known = [one.strip().removeprefix("W/") for one in ",".join(if_none_match or ()).split(",")]
    return "*" in known or f'"{tag}-{_CODE}"' in known


def etag_headers(tag: str) -> dict[str, str]:
    """The headers of an answer with this tag. Weak: a proxy may pack the answer."""
    return {"ETag": f'W/"{tag}-{_CODE}"', **_HEADERS}


def not_modified(tag: str) -> Response:
    """304 without a body."""
    return Response(status_code=304, headers=etag_headers(tag))


def _code() -> str:
    """Another text for other code: the next version may compute another answer of the same data."""
    folders = [Path(__file__).parents[1], Path(lake.__file__).parent]
    sources = (source for folder in folders for source in folder.rglob("*.py"))
    return fingerprint(*sorted(fingerprint(source.read_text("utf-8")) for source in sources))[:8]


_CODE: Final = _code()
