"""Retention of the marts: each night their oldest hours are deleted, which the lake keeps."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg
import psycopg

from lake.schema import CHARGING_SESSION
from pipelines.assets.marts import MARTS, efficiency_marts, first_mart_hour
from pipelines.assets.metadata import MAINTENANCE, OWNERS, RETRIES
from pipelines.partitions import newest_partition
from pipelines.resources import WarehouseResource
from pipelines.settings import PipelineSettings
from warehouse_sql.named_queries import query

# Takes seconds at most: what a kill loses, and how long a row stays locked.
_ROWS_A_STATEMENT: Final = 50_000


@dg.asset(
    key=[MAINTENANCE, "marts_retention"],
    deps=[newest_partition(key) for key in efficiency_marts.keys],
    group_name=MAINTENANCE,
    kinds={"postgres"},
    owners=OWNERS,
    tags={"layer": MAINTENANCE},
    # The pool of the marts' one writer: two that delete the same rows could block each other.
    pool="efficiency_marts",
    retry_policy=RETRIES,
    description=(
        "Deletes hours that are older than `MART_RETENTION_DAYS` from the tables in Postgres.\n\n"
        "**How it works.** By the clock and the hour of the row, the oldest rows first, "
        f"{_ROWS_A_STATEMENT:,} at a time. Postgres uses the room again for newer rows.\n\n"
        "**Caveats.** Nothing is lost: the lake keeps all hours. A longer retention fills up as "
        "hours pass; `wattlake verify --repair` fills it at once."
    ),
)
def marts_retention(warehouse: WarehouseResource) -> dg.MaterializeResult[None]:
    """Delete the rows of old hours and tell how many."""
    started, before = time.monotonic(), first_mart_hour(datetime.now(UTC))
    with warehouse.autocommit() as connection:
        prunes = {mart.table.name: mart.queries.prune for mart in MARTS}
        prunes[CHARGING_SESSION.name] = "prune_charging_sessions"
        freed = {
            f"rows_freed_{table}": _prune(connection, prune, before)
            for table, prune in prunes.items()
        }
        longest = timedelta(hours=PipelineSettings().refine_hours + 1)
        connection.execute(query("forget_awaited_before"), {"before": datetime.now(UTC) - longest})
        connection.execute(query("forget_crossing_before"), {"before": before})
    days = PipelineSettings().mart_retention_days
    return dg.MaterializeResult(
        metadata={
            "retention": f"{days} days: hours before {before:%Y-%m-%d %H:00} UTC",
            **freed,
            "seconds": round(time.monotonic() - started, 3),
        }
    )


def _prune(connection: psycopg.Connection, prune: str, before: datetime) -> int:
    asked = {"before": before, "most": _ROWS_A_STATEMENT}
    freed = 0
    while gone := connection.execute(query(prune), asked).rowcount:
        freed += gone
    return freed
