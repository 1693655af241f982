"""Metadata of tables in the asset graph: group, kinds, owner, columns, place."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import dagster as dg
import pyarrow as pa

from lake import Column, Lake, LakeSettings, Stream
from lake.schema import DATE, DATE_PARTITION, HOUR_PARTITION, TableSpec

OWNERS = ("team:energy-data",)
# The check of a copy in Postgres.
EQUAL = "equals_lake_table"

RETRIES = dg.RetryPolicy(
    max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)

# The run of an hour begins three minutes after its end and takes seconds; that of a day waits for
# the hours before midnight. Freshness is that of the newest run, the check `computed_in_time` looks
# at every hour.
FRESH_EACH_HOUR = dg.FreshnessPolicy.cron(
    deadline_cron="30 * * * *", lower_bound_delta=timedelta(minutes=30)
)
FRESH_EACH_DAY = dg.FreshnessPolicy.cron(
    deadline_cron="0 2 * * *", lower_bound_delta=timedelta(hours=2)
)
# The night's run waits for the hours before midnight, and looks at a year.
FRESH_EACH_MORNING = dg.FreshnessPolicy.cron(
    deadline_cron="0 8 * * *", lower_bound_delta=timedelta(hours=8)
)


def column_schema(columns: Sequence[Column]) -> dg.TableSchema:
    """The columns of a table with their types, units and meaning."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=_type_name(column.type),
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for column in columns
        ]
    )


def delta_metadata(table: TableSpec) -> Mapping[str, object]:
    """Static metadata of a Delta table that the pipelines write."""
    partition = () if DATE in table.columns else (DATE_PARTITION,)
    return _in_lake(table.name, (*table.columns, *partition))


def raw_metadata(stream: Stream) -> Mapping[str, object]:
    """Static metadata of a raw table."""
    return _in_lake(stream.raw_table, (*stream.columns, DATE_PARTITION, HOUR_PARTITION))


def mart_metadata(table: str, columns: Sequence[Column]) -> Mapping[str, object]:
    """Static metadata of a Postgres table."""
    return {
        "dagster/column_schema": column_schema(columns),
        "dagster/table_name": f"public.{table}",
    }


def _in_lake(table: str, columns: Sequence[Column]) -> Mapping[str, object]:
    return {
        "dagster/column_schema": column_schema(columns),
        "dagster/uri": Lake.from_settings(LakeSettings()).table_uri(table),
        "dagster/table_name": table,
    }


def _type_name(kind: pa.DataType) -> str:
    """The type as SQL and Delta users write it."""
    if pa.types.is_timestamp(kind):
        return "timestamp (UTC)"
    if pa.types.is_large_string(kind) or pa.types.is_string(kind):
        return "string"
    if pa.types.is_large_list(kind) or pa.types.is_list(kind):
        return f"array<{_type_name(kind.value_type)}>"
    return "date" if pa.types.is_date(kind) else str(kind)
