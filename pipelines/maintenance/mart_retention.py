"""Retention of the marts: each night their oldest rows are deleted, which the lake keeps."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg

from pipelines.assets.mart import first_mart_hour
from pipelines.assets.marts import MART_POOL, MARTS
from pipelines.assets.metadata import RETRIES
from pipelines.assets.sessions import SESSION_MART
from pipelines.resources import WarehouseResource
from pipelines.settings import PipelineSettings
from warehouse_sql.named_queries import query

# Takes seconds at most: what a kill loses, and how long a row stays locked.
_ROWS_A_STATEMENT: Final = 50_000


@dg.op(
    pool=MART_POOL,
    retry_policy=RETRIES,
    description=(
        "Deletes hours, days and sessions that are older than `MART_RETENTION_DAYS` from the "
        "tables in Postgres.\n\n"
        "**How it works.** By the clock and the time of the row, the oldest rows first, "
        f"{_ROWS_A_STATEMENT:,} at a time. Postgres uses the room again for newer rows.\n\n"
        "**Caveats.** Nothing is lost: the lake keeps all hours. A longer retention fills up as "
        "hours pass; `wattlake verify --repair` fills it at once."
    ),
)
def marts_retention(context: dg.OpExecutionContext, warehouse: WarehouseResource) -> None:
    """Delete the rows of old hours and tell how many."""
    started, now = time.monotonic(), datetime.now(UTC)
    before = first_mart_hour(now)
    with warehouse.autocommit() as connection:
        freed = {
            f"rows_freed_{mart.table.name}": mart.prune(connection, now, _ROWS_A_STATEMENT)
            for mart in (*MARTS, SESSION_MART)
        }
        longest = timedelta(hours=PipelineSettings().refine_hours + 1)
        connection.execute(query("forget_awaited_before"), {"before": now - longest})
        connection.execute(query("forget_crossing_before"), {"before": before})
    days = PipelineSettings().mart_retention_days
    context.add_output_metadata(
        {
            "retention": f"{days} days: hours before {before:%Y-%m-%d %H:00} UTC",
            **freed,
            "seconds": round(time.monotonic() - started, 3),
        }
    )
