"""Marts: the hourly efficiency as Postgres tables, with the same rows as in the lake."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import dagster as dg
import polars as pl
import psycopg
from adbc_driver_postgresql import dbapi

from lake import HOUR, Lake, hour_of
from lake.schema import (
    CHARGER_EFFICIENCY_HOURLY,
    FLEET_EFFICIENCY_HOURLY,
    VEHICLE_EFFICIENCY_HOURLY,
    TableSpec,
    contiguous_hours,
    in_window,
)
from pipelines.assets.hourly import CHARGERS, FLEET, VEHICLES
from pipelines.assets.lineage import lineage_metadata, same_columns
from pipelines.assets.metadata import EQUAL, FRESH_EACH_HOUR, OWNERS, RETRIES, mart_metadata
from pipelines.assets.read_failures import fail_on_unreadable
from pipelines.assets.sessions import SESSION_CHECKS, SESSION_SPECS, publish_sessions
from pipelines.checks.results import latched_result, selected_results
from pipelines.checks.rules import differing_rows
from pipelines.ledger import changed_hours, mark_published, state_of_efficiency
from pipelines.partitions import HOURLY, hour_key, hours_of_run
from pipelines.resources import LakeResource, WarehouseResource
from pipelines.settings import PipelineSettings
from warehouse_sql.named_queries import query

_HOURS_A_TRANSACTION = 24


class MartQueries(NamedTuple):
    """Names of the queries of one twin."""

    between: str
    delete: str
    copy: str
    prune: str


@dataclass(frozen=True)
class Mart:
    """Lake table with its copy in Postgres and the names of its queries."""

    table: TableSpec
    source: dg.AssetSpec
    queries: MartQueries

    @property
    def asset_key(self) -> dg.AssetKey:
        """Asset key of the copy."""
        return dg.AssetKey(["warehouse", self.table.name])

    def spec(self) -> dg.AssetSpec:
        """The asset."""
        return dg.AssetSpec(
            self.asset_key,
            deps=[self.source],
            group_name="serving",
            kinds={"postgres"},
            owners=OWNERS,
            tags={"layer": "serving"},
            code_version="1",
            metadata={
                **mart_metadata(self.table.name, self.table.columns),
                **lineage_metadata(same_columns(self.table, self.source.key.to_user_string())),
            },
            freshness_policy=FRESH_EACH_HOUR,
            description=(
                f"The last `MART_RETENTION_DAYS` of `{self.table.name}` in Postgres: "
                f"{self.table.description}. For APIs and BI tools that do not read Delta "
                "tables.\n\n"
                "**How it is computed.** Not at all: each hour is the same rows as in the lake's "
                "table, replaced in one transaction together with its twin.\n\n"
                "**Caveats.** An hour appears here a few seconds after it does in the lake. Older "
                "hours are in the lake alone, also when they are computed again."
            ),
        )

    def check_spec(self) -> dg.AssetCheckSpec:
        """Check that both tables hold the same rows."""
        return dg.AssetCheckSpec(
            EQUAL,
            asset=self.asset_key,
            description="The same rows and values as in the lake, "
            "of the hours within the retention; none of older ones.",
        )


MARTS = (
    Mart(
        VEHICLE_EFFICIENCY_HOURLY,
        VEHICLES,
        MartQueries(
            between="vehicle_efficiency_between",
            delete="delete_vehicle_efficiency",
            copy="copy_vehicle_efficiency",
            prune="prune_vehicle_efficiency",
        ),
    ),
    Mart(
        CHARGER_EFFICIENCY_HOURLY,
        CHARGERS,
        MartQueries(
            between="charger_efficiency_between",
            delete="delete_charger_efficiency",
            copy="copy_charger_efficiency",
            prune="prune_charger_efficiency",
        ),
    ),
    Mart(
        FLEET_EFFICIENCY_HOURLY,
        FLEET,
        MartQueries(
            between="fleet_efficiency_between",
            delete="delete_fleet_efficiency",
            copy="copy_fleet_efficiency",
            prune="prune_fleet_efficiency",
        ),
    ),
)


@dg.multi_asset(
    name="efficiency_marts",
    specs=[*(mart.spec() for mart in MARTS), *SESSION_SPECS],
    check_specs=[*(mart.check_spec() for mart in MARTS), *SESSION_CHECKS],
    partitions_def=HOURLY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="efficiency_marts",
    retry_policy=RETRIES,
    can_subset=True,
)
def efficiency_marts(
    context: dg.AssetExecutionContext, lake: LakeResource, warehouse: WarehouseResource
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Publish the hours of the run, and the hours beside them that changed, in both tables.

    With the charging sessions that they touch, which are computed here: an hour counts as published
    once they are. Hours that are older than the retention count as published without their rows:
    the lake alone has them.
    """
    tables, hours, first = lake.lake(), hours_of_run(context), first_mart_hour(datetime.now(UTC))
    with warehouse.autocommit() as connection:
        every = sorted({*hours, *changed_hours(connection, hours)})
        states = state_of_efficiency(connection, every)
    for stretch in contiguous_hours(every, _HOURS_A_TRANSACTION):
        start, end = stretch[0], stretch[-1] + HOUR
        with fail_on_unreadable(tables, [mart.table.name for mart in MARTS], start, end):
            rows = {
                mart.table.name: _lake_rows(tables, mart, max(start, first), end) for mart in MARTS
            }
        with warehouse.transaction() as connection:
            for mart in MARTS:
                _replace(connection, mart, rows[mart.table.name], start, end)
            connection.execute(query("note_publication"))  # alert rules look at what is new
    with warehouse.arrow() as connection:
        compared = [_compare(tables, connection, mart, every, first) for mart in MARTS]
    sessions = publish_sessions(tables, warehouse, every, first)
    with warehouse.autocommit() as connection:
        checks = [
            latched_result(
                connection,
                EQUAL,
                differing,
                every,
                what="rows that differ from the lake",
                asset_key=mart.asset_key,
                since=first,
            )
            for mart, (differing, _) in zip(MARTS, compared, strict=True)
        ]
        # Not before they are compared, or a run that dies in between would leave that undone.
        mark_published(connection, states)
    for mart, (_, counts), check in zip(MARTS, compared, checks, strict=True):
        if mart.asset_key in context.selected_asset_keys:
            for hour in hours:
                context.add_asset_metadata(
                    {"dagster/partition_row_count": counts.get(hour, 0)},
                    asset_key=mart.asset_key,
                    partition_key=hour_key(hour),
                )
            yield dg.MaterializeResult(asset_key=mart.asset_key)
        yield from selected_results(context, [check])
    for spec in SESSION_SPECS:
        if spec.key in context.selected_asset_keys:
            for hour in hours:
                context.add_asset_metadata(
                    {"dagster/partition_row_count": sessions.counts.get(hour, 0)},
                    asset_key=spec.key,
                    partition_key=hour_key(hour),
                )
            yield dg.MaterializeResult(asset_key=spec.key)
    yield from selected_results(context, sessions.results)


def first_mart_hour(now: datetime) -> datetime:
    """The oldest hour that the marts hold rows of."""
    return hour_of(now) - timedelta(days=PipelineSettings().mart_retention_days)


def _replace(
    connection: psycopg.Connection, mart: Mart, rows: pl.DataFrame, start: datetime, end: datetime
) -> None:
    connection.execute(query(mart.queries.delete), {"start": start, "end": end})
    with connection.cursor().copy(query(mart.queries.copy)) as copy:
        for row in rows.iter_rows():
            copy.write_row(row)


def _compare(
    lake: Lake,
    connection: dbapi.Connection,
    mart: Mart,
    hours: Sequence[datetime],
    first: datetime,
) -> tuple[pl.DataFrame, Mapping[datetime, int]]:
    """Keys of the rows that differ, and the rows of each hour in Postgres."""
    differing, counts = [], {}
    for stretch in contiguous_hours(hours, _HOURS_A_TRANSACTION):
        start, end = stretch[0], stretch[-1] + HOUR
        expected = _lake_rows(lake, mart, max(start, first), end)
        found = mart_rows(connection, mart, start, end, expected)
        differing.append(differing_rows(expected, found, mart.table.key))
        counts.update(
            {
                hour.astimezone(UTC): count
                for hour, count in found.group_by("hour_start").len().iter_rows()
            }
        )
    return pl.concat(differing), counts


def mart_rows(
    connection: dbapi.Connection,
    mart: Mart,
    start: datetime,
    end: datetime,
    like: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """The rows of a mart whose hour starts in the window, sorted, with the types of `like`."""
    with connection.cursor() as cursor:
        cursor.execute(query(mart.queries.between).decode(), (start, end))
        rows = pl.DataFrame(cursor.fetch_arrow_table())
    return rows if like is None else rows.cast(like.schema)


def _lake_rows(lake: Lake, mart: Mart, start: datetime, end: datetime) -> pl.DataFrame:
    """The rows that the mart should hold of a window; none where it ends before it starts."""
    if end <= start:
        return pl.DataFrame(mart.table.schema.empty_table()).select(mart.table.names)
    return (
        lake.scan(lake.open(mart.table.name))
        .filter(in_window(start, end, mart.table.time_column))
        .select(mart.table.names)
        .sort(mart.table.key)
        .collect()
    )
