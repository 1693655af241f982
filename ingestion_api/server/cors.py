"""CORS: access from pages of the sites that CORS_ORIGINS names."""

from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from ingestion_api.rest.problems import problem_response

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_SENT: Final = (
    *("Authorization", "X-API-Key", "X-Request-ID", "Content-Encoding", "Prefer"),
    *("If-None-Match", "Last-Event-ID", "Cache-Control"),
)
_READ: Final = (
    *("ETag", "Link", "Retry-After", "X-Request-ID", "Allow", "Location", "WWW-Authenticate"),
    "Preference-Applied",
)


class CorsMiddleware(CORSMiddleware):
    """Starlette's, whose refusals are problems here.

    A key is sent as a header, and never by the browser itself as a cookie would be: credentials in
    the sense of CORS are not allowed, to no site.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=_METHODS,
            allow_headers=_SENT,
            expose_headers=_READ,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a preflight request, which has no key."""
        answer = super().preflight_response(request_headers)
        headers = {name: answer.headers[name] for name in answer.headers if name not in _OF_TEXT}
        if answer.status_code == 200:
            return Response(status_code=204, headers=headers)
        return problem_response(403, f"{bytes(answer.body).decode()}: see CORS_ORIGINS", headers)


_OF_TEXT: Final = frozenset({"content-type", "content-length"})
