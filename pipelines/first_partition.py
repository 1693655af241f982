"""First partition: from the setting, else from the first data that the database knows."""

import logging
from datetime import UTC, date, datetime, timedelta

import psycopg
from pydantic import ValidationError

from pipelines.settings import PipelineSettings
from warehouse_sql.named_queries import query
from warehouse_sql.settings import DatabaseSettings, settings_fault

# Dagster advises at most so many partitions, and the database keeps to it, too (`first_hour`).
_WIDEST = timedelta(hours=100_000)


def first_day() -> date:
    """First UTC day that is computed, at the time definitions are loaded.

    Without a database as early as Dagster advises, and a word that says why.
    """
    set_to = PipelineSettings().partitions_start
    if set_to is not None:
        return set_to
    try:
        with psycopg.connect(DatabaseSettings().dsn, connect_timeout=10) as connection:
            ((day, _),) = connection.execute(query("first_partition")).fetchall()
    except ValidationError as error:
        why = f"{settings_fault(error)}; set it in the environment or in .env"
    except psycopg.OperationalError as error:
        why = f"the database of DATABASE_URL does not answer: {' '.join(str(error).split())}"
    except psycopg.errors.UndefinedTable:
        why = "the database of DATABASE_URL is not migrated; run: wattlake migrate"
    else:
        found: date = day
        return found
    logging.getLogger(__name__).warning("no run can compute anything yet. %s", why)
    return (datetime.now(UTC) - _WIDEST).date()


def lower_first_partition(connection: psycopg.Connection, set_to: date | None) -> None:
    """Move the first partition to the setting, else back to the first hour that waits.

    Definitions that are loaded later know of it. Hours older than Dagster advises are no reason.
    """
    connection.execute(query("note_partitions_start"), {"set_to": set_to})
    connection.execute(query("lower_first_partition_to_waiting"))
