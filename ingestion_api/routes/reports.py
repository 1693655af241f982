"""The daily reports that lie beside the lake's tables."""

import re
from datetime import date
from typing import Annotated, Final, Literal

import pyarrow.fs
from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from ingestion_api.analytics.lake_access import in_lake_thread, reading_the_lake
from ingestion_api.page.headers import page_headers
from ingestion_api.rest.models import Answer
from ingestion_api.rest.problems import Problem, problem_responses
from ingestion_api.rest.validation_messages import DAY
from ingestion_api.services import ServicesDep
from lake import Lake

_REPORT: Final = re.compile(r"reports/date=(\d{4}-\d{2}-\d{2})/efficiency\.(html|csv)$")
_MEDIA_TYPES: Final = {"html": "text/html; charset=utf-8", "csv": "text/csv; charset=utf-8"}

# The page has its style and its charts in itself, and neither script nor form.
_HEADERS: Final = page_headers("style-src 'unsafe-inline'; form-action 'none'")

router = APIRouter(prefix="/v1/reports", tags=["reports"])


class Report(Answer):
    """The efficiency report of a UTC day."""

    date: date
    html: str | None = Field(description="path of the page")
    csv: str | None = Field(description="path of the same numbers as CSV")


class Reports(Answer):
    """Reports, newest first."""

    reports: list[Report]


@router.get("", responses=problem_responses(503), name="Reports there are")
async def list_reports(services: ServicesDep) -> Reports:
    """Every daily report, newest first."""
    found = await in_lake_thread(_find, services.lake)
    return Reports(reports=[_report(day, found[day]) for day in sorted(found, reverse=True)])


@router.get(
    "/{day}.{form}",
    response_class=Response,
    responses={
        200: {
            "description": "the report",
            "content": {kind: {"schema": {"type": "string"}} for kind in ("text/html", "text/csv")},
        },
        **problem_responses(404, 422, 503),
    },
    name="A report",
)
async def read_report(
    services: ServicesDep,
    day: Annotated[
        str,
        Path(pattern=DAY, description="UTC day", examples=["2026-03-01"]),
    ],
    form: Annotated[Literal["html", "csv"], Path(description="html or csv")],
) -> Response:
    """The efficiency report of a UTC day."""
    try:
        asked = date.fromisoformat(day)
    except ValueError:
        raise Problem(422, f"date: there is no day {day}") from None
    path = f"reports/date={asked.isoformat()}/efficiency.{form}"
    content = await in_lake_thread(_read, services.lake, path)
    if content is None:
        raise Problem(404, f"there is no report of {asked}; GET /v1/reports lists those there are")
    return Response(content, headers=_HEADERS, media_type=_MEDIA_TYPES[form])


@reading_the_lake()
def _find(lake: Lake) -> dict[str, set[str]]:
    """The forms there are of each day's report."""
    selector = pyarrow.fs.FileSelector("reports", allow_not_found=True, recursive=True)
    found: dict[str, set[str]] = {}
    for info in lake.file_system().get_file_info(selector):
        if match := _REPORT.search(info.path):
            found.setdefault(match[1], set()).add(match[2])
    return found


@reading_the_lake()
def _read(lake: Lake, path: str) -> bytes | None:
    try:
        with lake.file_system().open_input_stream(path) as stream:
            content: bytes = stream.read()
            return content
    except FileNotFoundError:
        return None


def _report(day: str, forms: set[str]) -> Report:
    return Report(
        date=date.fromisoformat(day),
        html=f"/v1/reports/{day}.html" if "html" in forms else None,
        csv=f"/v1/reports/{day}.csv" if "csv" in forms else None,
    )
