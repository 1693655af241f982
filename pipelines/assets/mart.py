"""Mart: a table of the lake and its copy in Postgres, of the same name, columns and rows."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl
import psycopg
import pyarrow as pa
from adbc_driver_postgresql import dbapi
from psycopg.sql import SQL, Composable, Composed, Identifier

from lake import Column, Lake, hour_of
from lake.schema import DATE, TableSpec, in_window
from pipelines.assets.lineage import lineage_metadata, same_columns
from pipelines.assets.metadata import (
    EQUAL,
    FRESH_EACH_DAY,
    FRESH_EACH_HOUR,
    OWNERS,
    mart_metadata,
)
from pipelines.settings import PipelineSettings
from warehouse_sql.named_queries import query


@dataclass(frozen=True)
class Mart:
    """Lake table and its copy in Postgres, which holds the rows of the last MART_RETENTION_DAYS.

    Windows are of the table's time column and half-open; of a table of days they are whole days.
    """

    table: TableSpec
    source: dg.AssetKey
    """The table in the asset graph."""

    @property
    def asset_key(self) -> dg.AssetKey:
        """Asset key of the copy."""
        return _asset_key(self.table)

    @property
    def is_of_days(self) -> bool:
        """True if a row is about a UTC day."""
        return self.table.time_column == DATE.name

    def spec(self) -> dg.AssetSpec:
        """The asset of the copy."""
        part = "day" if self.is_of_days else "hour"
        return mart_spec(
            self.table,
            self.source,
            FRESH_EACH_DAY if self.is_of_days else FRESH_EACH_HOUR,
            f"The last `MART_RETENTION_DAYS` of `{self.table.name}` in Postgres: "
            f"{self.table.description}. For APIs and BI tools that do not read Delta "
            "tables.\n\n"
            f"**How it is computed.** Not at all: each {part} is the same rows as in the "
            "lake's table, replaced in one transaction together with its twins.\n\n"
            f"**Caveats.** A {part} appears here a few seconds after it does in the lake. "
            f"Older {part}s are in the lake alone, also when they are computed again.",
        )

    def check_spec(self) -> dg.AssetCheckSpec:
        """Check that both tables hold the same rows."""
        return dg.AssetCheckSpec(
            EQUAL,
            asset=self.asset_key,
            description="The same rows and values as in the lake, of the "
            f"{'days' if self.is_of_days else 'hours'} within the retention; none of older ones.",
        )

    def first(self, now: datetime) -> datetime:
        """The oldest time that the copy holds rows of; of days the day in which it lies."""
        first = first_mart_hour(now)
        return first.replace(hour=0) if self.is_of_days else first

    def lake_rows(self, lake: Lake, start: datetime, end: datetime, now: datetime) -> pl.DataFrame:
        """The rows that the copy should hold of a window, in the order of the table's key."""
        start = max(start, self.first(now))
        if end <= start:
            return pl.DataFrame(self.table.schema.empty_table()).select(self.table.names)
        return (
            lake.scan(lake.open(self.table.name))
            .filter(in_window(start, end, self.table.time_column))
            .select(self.table.names)
            .sort(self.table.key)
            .collect()
        )

    def rows(
        self,
        connection: dbapi.Connection,
        start: datetime,
        end: datetime,
        like: pl.DataFrame | None = None,
    ) -> pl.DataFrame:
        """The rows of the copy in a window, sorted, with the types of `like`."""
        with connection.cursor() as cursor:
            statement = self._statement("mart_rows_between").as_string()
            cursor.execute(statement, (self._at(start), self._at(end)))
            rows = pl.DataFrame(cursor.fetch_arrow_table())
        return rows if like is None else rows.cast(like.schema)

    def replace(
        self, connection: psycopg.Connection, rows: pl.DataFrame, start: datetime, end: datetime
    ) -> None:
        """Let these be the rows of a window."""
        window = {"start": self._at(start), "end": self._at(end)}
        connection.execute(self._statement("delete_mart_rows"), window)
        self.add(connection, rows)

    def add(self, connection: psycopg.Connection, rows: pl.DataFrame) -> None:
        """Add rows with the columns of the table."""
        with connection.cursor().copy(self._statement("copy_mart_rows")) as copy:
            for row in rows.iter_rows():
                copy.write_row(row)

    def prune(self, connection: psycopg.Connection, now: datetime, at_once: int) -> int:
        """Delete what is older than the retention, so many rows a statement; return their count."""
        asked = {"before": self._at(self.first(now)), "most": at_once}
        freed = 0
        while gone := connection.execute(self._statement("prune_mart_rows"), asked).rowcount:
            freed += gone
        return freed

    def _at(self, moment: datetime) -> datetime | date:
        return moment.astimezone(UTC).date() if self.is_of_days else moment

    def _statement(self, name: str) -> Composed:
        return SQL(query(name).decode()).format(
            table=Identifier(self.table.name),
            time=Identifier(self.table.time_column),
            columns=SQL(", ").join(map(Identifier, self.table.names)),
            values=SQL(", ").join(map(_value, self.table.columns)),
            key=SQL(", ").join(map(Identifier, self.table.key)),
        )


def mart_spec(
    table: TableSpec,
    source: dg.AssetKey,
    freshness: dg.FreshnessPolicy,
    description: str,
    group: str = "serving",
) -> dg.AssetSpec:
    """The asset of a copy in Postgres of the lake table that `source` makes."""
    return dg.AssetSpec(
        _asset_key(table),
        deps=[source],
        group_name=group,
        kinds={"postgres"},
        owners=OWNERS,
        tags={"layer": "serving"},
        code_version="1",
        metadata={
            **mart_metadata(table.name, table.columns),
            **lineage_metadata(same_columns(table, source.to_user_string())),
        },
        freshness_policy=freshness,
        description=description,
    )


def _asset_key(table: TableSpec) -> dg.AssetKey:
    return dg.AssetKey(["warehouse", table.name])


def _value(column: Column) -> Composable:
    """A column to read; of money its digits, since Arrow has no type for a numeric of Postgres."""
    name = Identifier(column.name)
    return SQL("{0}::text AS {0}").format(name) if pa.types.is_decimal(column.type) else name


def first_mart_hour(now: datetime) -> datetime:
    """The oldest hour that the marts hold rows of."""
    return hour_of(now) - timedelta(days=PipelineSettings().mart_retention_days)
