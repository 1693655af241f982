"""Status of the whole in one answer: for the command line and for screens."""

from datetime import datetime
from typing import Final

from fastapi import APIRouter
from pydantic import Field

from ingestion_api.observability.freshness import Figures
from ingestion_api.rest.models import Answer
from ingestion_api.rest.problems import problem_responses
from ingestion_api.services import ServicesDep
from warehouse_sql.named_queries import query

_HINT: Final = (
    "guessed by equal trailing numbers: GET /v1/links/guessed lists them, POST /v1/links confirms "
    "one, DELETE /v1/links/guessed/{meterId} dissolves it, LINK_BY_TRAILING_NUMBER=false switches "
    "the guessing off"
)

router = APIRouter(prefix="/v1", tags=["status"])


class AlikeIds(Answer):
    """Ids of one kind that differ in letter case only; each is a device of its own."""

    stream: str
    ids: list[str]


class GuessedLinkCounts(Answer):
    """Counts of what rests on the rule of the trailing number."""

    links: int = Field(description="pairs of a meter and a vehicle that nothing else links")
    unpaired: int = Field(description="devices that it pairs with nobody: their number was taken")
    hint: str | None = Field(description="what to do about them; null where there is nothing")


class CellStatus(Answer):
    """Another database that delivers to this lake."""

    name: str
    seen_at: datetime | None = Field(description="when its live states were last taken in")
    is_seen: bool = Field(description="false: it does not answer, and its devices are as of then")


class WholeStatus(Answer):
    """Counts over everything that was ever acknowledged."""

    records_acknowledged: int = Field(description="heartbeats, their duplicates included")
    rows_in_lake: int = Field(description="of them in the raw tables of the lake")
    outbox_rows: int = Field(description="of them on their way to the lake")
    hours_compacted: int = Field(
        description="UTC hours whose efficiency was computed, those that wait for it again as well"
    )
    hours_waiting: int = Field(
        description="UTC hours that are not over, or not computed as they are now"
    )
    hours_never_computed: int = Field(
        description="UTC hours before the first one that is computed; see PARTITIONS_START"
    )
    waiting_seconds: float | None = Field(
        description="how long those that are over will take, as fast as it went in the last "
        "quarter of an hour; null: too few were computed then to tell"
    )
    vehicles_by_status: dict[str, int] = Field(
        description="vehicles of each efficiency status in the newest computed hour"
    )
    ids_alike: list[AlikeIds] = Field(
        description="ids that differ in letter case only, of at most 20 devices: often one device "
        "that is written in two ways"
    )
    guessed_links: GuessedLinkCounts = Field(
        description="links by equal trailing numbers; zeros where LINK_BY_TRAILING_NUMBER is off"
    )
    figures: Figures | None = Field(
        description="how far the computed figures go; null before the database was asked"
    )
    cells: list[CellStatus] = Field(description="other databases that deliver to this lake")


@router.get("/status", responses=problem_responses(503), name="Status of the whole")
async def whole_status(services: ServicesDep) -> WholeStatus:
    """Counts of what was acknowledged, where it is, and the newest computed hour."""
    async with services.pool.connection() as conn:
        row = await (await conn.execute(query("whole_status"), {"now": services.now()})).fetchone()
        waiting = await (await conn.execute(query("hours_waiting"))).fetchone()
        alike = await (await conn.execute(query("ids_alike"))).fetchall()
        guessed = await (await conn.execute(query("count_guessed_links"))).fetchone()
    assert row is not None, "the query always has one row"
    assert waiting is not None, "the query always has one row"
    assert guessed is not None, "the query always has one row"
    counts = guessed if services.energy.link_by_trailing_number else dict.fromkeys(guessed, 0)
    return WholeStatus(
        **row,
        waiting_seconds=waiting["seconds"],
        ids_alike=[AlikeIds(**one) for one in alike],
        guessed_links=GuessedLinkCounts(**counts, hint=_HINT if any(counts.values()) else None),
        figures=services.figures(services.now()),
        cells=[
            CellStatus(name=cell.name, seen_at=cell.seen_at, is_seen=cell.is_seen)
            for cell in services.outbox.cells
        ],
    )
