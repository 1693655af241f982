"""The web pages of the fleet, of a device, of charging sessions, of maintenance and of reports.

The pages are frames without data: their modules ask the API, with the key that somebody has typed
in where the collector wants one. So the frames and their files are open to everybody.
"""

import gzip
from collections.abc import Mapping
from functools import cache
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from ingestion_api.page.chart_library import ChartLibrary, cache_folder
from ingestion_api.page.files import PageFiles
from ingestion_api.page.headers import page_headers
from ingestion_api.rest.problems import Problem
from ingestion_api.server.compression import accepts_gzip

# Nothing but this collector's own files, no inline script or style, no evaluated text.
_PAGE_HEADERS: Final = page_headers(
    "script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'"
)
# A report has its style in itself, and what lies in a frame of a page has the rules of the page.
_REPORT_HEADERS: Final = page_headers(
    "script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'"
)
_FOR_EVER: Final = "public, max-age=31536000, immutable"

router = APIRouter(include_in_schema=False)


@router.get("/")
def fleet_page() -> Response:
    """The fleet."""
    return _page("fleet.html.j2")


@router.get("/vehicles/{vehicle_id:path}")
def vehicle_page(vehicle_id: str) -> Response:
    """A vehicle, known or not: the API says so to those who may ask."""
    return _page("vehicle.html.j2", vehicle_id=vehicle_id)


@router.get("/meters/{meter_id:path}")
def meter_page(meter_id: str) -> Response:
    """A meter, likewise."""
    return _page("meter.html.j2", meter_id=meter_id)


@router.get("/reports")
def reports_page() -> Response:
    """The reports that there are."""
    return _page("reports.html.j2", key="")


@router.get("/reports/{key}")
def report_page(key: str) -> Response:
    """The report of a day, a week or a month, known or not: the API says so to those who may."""
    return _page("reports.html.j2", _REPORT_HEADERS, key=key)


@router.get("/sessions")
def sessions_page() -> Response:
    """Charging sessions of the fleet, or of the device that the query names."""
    return _page("sessions.html.j2")


@router.get("/maintenance")
def maintenance_page() -> Response:
    """Chargers and vehicles to visit."""
    return _page("maintenance.html.j2")


@router.get("/sessions/{session_id:path}")
def session_page(session_id: str) -> Response:
    """A charging session, known or not."""
    return _page("session.html.j2", session_id=session_id)


@router.get("/assets/charts/{name}")
async def charts(name: str, request: Request) -> Response:
    """The chart library."""
    library = _library()
    if name != library.name:
        raise Problem(404, "that is the chart library of another version; reload the page")
    return _packed(request, await library.read(), "text/javascript; charset=utf-8")


@router.get("/assets/{folder}/{name}")
def asset(folder: str, name: str, request: Request) -> Response:
    """A module, a style or an icon."""
    found = _files().assets.get(name)
    if found is None or folder != _files().folder:
        raise Problem(404, "that is a file of another version of the page; reload the page")
    return _packed(request, found.packed, found.media_type)


@cache
def _library() -> ChartLibrary:
    return ChartLibrary(cache_folder())


@cache
def _files() -> PageFiles:
    return PageFiles(_library().name)


def _page(template: str, headers: Mapping[str, str] = _PAGE_HEADERS, **values: object) -> Response:
    html = _files().render(template, **values)
    return Response(html, headers=headers, media_type="text/html; charset=utf-8")


def _packed(request: Request, content: bytes, media_type: str) -> Response:
    headers = {
        "Cache-Control": _FOR_EVER,
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    if accepts_gzip(request.scope):
        headers["Content-Encoding"] = "gzip"
    else:
        content = gzip.decompress(content)
    return Response(content, headers=headers, media_type=media_type)
