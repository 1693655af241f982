"""Reports of days, weeks and months that lie beside the lake's tables."""

from datetime import date
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.responses import Response

from ingestion_api.analytics.lake_access import in_lake_thread, reading_the_lake
from ingestion_api.page.headers import page_headers
from ingestion_api.rest.models import Answer
from ingestion_api.rest.problems import Problem, problem_responses
from ingestion_api.rest.validation_messages import PERIOD
from ingestion_api.services import ServicesDep
from lake import Lake
from lake.reports import (
    FORMS,
    Kind,
    ReportFolder,
    ReportVersion,
    Scope,
    list_reports,
    parse_period,
    read_file,
    read_versions,
)
from warehouse_sql.device_attributes import DEPOT_PATTERN

# The page has its style and its charts in itself, and neither script nor form.
_HEADERS: Final = page_headers("style-src 'unsafe-inline'; form-action 'none'")

_Depot = Annotated[
    str | None,
    Query(pattern=DEPOT_PATTERN, description="report of this depot; left out: of the fleet"),
]

router = APIRouter(prefix="/v1/reports", tags=["reports"])


class Report(Answer):
    """The newest version of a report; what it lacks of the forms is null."""

    key: str = Field(
        description="2026-03-01, 2026-W09 (ISO week) or 2026-03", examples=["2026-W09"]
    )
    first_day: date = Field(description="first local day of the period")
    depot: str | None = Field(description="id of the depot; null: the fleet")
    so_far: bool = Field(description="true: the period was not over when it was made")
    version: int = Field(description="0: so far; another one whenever figures have changed")
    versions: list[int] = Field(description="versions that are kept, this one included")
    html: str | None = Field(description="path of the page")
    pdf: str | None = Field(description="path of the PDF")
    xlsx: str | None = Field(description="path of the workbook")
    csv: str | None = Field(description="path of the rows of all devices as CSV")
    parquet: str | None = Field(description="path of the same rows as Parquet")


class Reports(Answer):
    """Reports, newest first."""

    reports: list[Report]


@router.get("", responses=problem_responses(422, 503), name="Reports there are")
async def all_reports(
    services: ServicesDep,
    period: Annotated[Kind, Query(description="day, week (ISO) or month")] = "day",
    depot: _Depot = None,
) -> Reports:
    """Every report of a kind, newest first, of the fleet or of a depot."""
    scope = Scope(depot)
    found = await in_lake_thread(_find, services.lake, period, scope)
    return Reports(reports=[_report(folder, versions) for folder, versions in reversed(found)])


@router.get(
    "/{key}.{form}",
    response_class=Response,
    responses={
        200: {
            "description": "the report",
            "content": {
                kind.partition(";")[0]: {"schema": {"type": "string", "format": "binary"}}
                for kind in FORMS.values()
            },
        },
        **problem_responses(404, 422, 503),
    },
    name="A report",
)
async def read_report(
    services: ServicesDep,
    key: Annotated[
        str,
        Path(
            pattern=PERIOD,
            description="a day, an ISO week or a month: 2026-03-01, 2026-W09, 2026-03",
            examples=["2026-03-01"],
        ),
    ],
    form: Annotated[
        Literal["html", "pdf", "xlsx", "csv", "parquet"], Path(description="html, pdf and so on")
    ],
    depot: _Depot = None,
    version: Annotated[
        int | None, Query(ge=0, le=1_000_000, description="of its versions; left out: the newest")
    ] = None,
) -> Response:
    """A report in one of its forms."""
    try:
        folder = ReportFolder(parse_period(key), Scope(depot))
    except ValueError as error:
        raise Problem(422, f"key: {error}") from None
    content = await in_lake_thread(_read, services.lake, folder, form, version)
    if content is None:
        of_depot = "" if depot is None else f" of depot {depot}"
        numbered = "" if version is None else f", version {version},"
        raise Problem(
            404,
            f"there is no report{of_depot} of {key}{numbered} as {form}; GET /v1/reports lists "
            "those there are",
        )
    return Response(content, headers=_HEADERS, media_type=FORMS[form])


@reading_the_lake()
def _find(lake: Lake, kind: Kind, scope: Scope) -> list[tuple[ReportFolder, list[ReportVersion]]]:
    found = list_reports(lake.file_system(), kind, scope)
    return [(ReportFolder(period, scope), versions) for period, versions in found.items()]


@reading_the_lake()
def _read(lake: Lake, folder: ReportFolder, form: str, version: int | None) -> bytes | None:
    files = lake.file_system()
    if version is None:
        versions = read_versions(files, folder)
        if not versions:
            return None
        version = versions[-1].number
    return read_file(files, folder.file(version, form))


def _report(folder: ReportFolder, versions: list[ReportVersion]) -> Report:
    newest, depot = versions[-1], folder.scope.depot
    of_depot = "" if depot is None else f"?depot={depot}"
    return Report(
        key=folder.period.key,
        first_day=folder.period.first,
        depot=depot,
        so_far=newest.number == 0,
        version=newest.number,
        versions=[version.number for version in versions],
        **{
            form: f"/v1/reports/{folder.period.key}.{form}{of_depot}"
            if form in newest.forms
            else None
            for form in FORMS
        },
    )
