"""Assets of charging sessions: merged from stretches, in the lake and as its copy in Postgres."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time
from typing import NamedTuple

import dagster as dg
import polars as pl
import psycopg
from adbc_driver_postgresql import dbapi

from lake import DAY, HOUR, EnergySettings, Lake
from lake.delta import change_window
from lake.schema import (
    CHARGING_SESSION,
    CHARGING_STRETCH_HOURLY,
    VEHICLE_EFFICIENCY_HOURLY,
    contiguous_hours,
    contiguous_ranges,
)
from pipelines.assets.external import CHARGING_LINKS, DEVICE_REGISTRY, TARIFFS
from pipelines.assets.hourly import CHARGERS, STRETCHES, VEHICLES
from pipelines.assets.lineage import lineage_metadata, session_sources
from pipelines.assets.mart import Mart, mart_spec
from pipelines.assets.metadata import (
    EQUAL,
    FRESH_EACH_HOUR,
    OWNERS,
    delta_metadata,
)
from pipelines.assets.read_failures import fail_on_unreadable
from pipelines.checks.results import latched_result
from pipelines.checks.rules import differing_rows, uneven_sessions
from pipelines.compute.pricing import known_pricing
from pipelines.compute.sessions import REACH, Renewal, newest_computed_end, renewed_sessions
from pipelines.resources import WarehouseResource
from warehouse_sql.named_queries import query

ADDS_UP = "sessions_add_up"
_HOURS_AT_ONCE = 24
_READ = (CHARGING_STRETCH_HOURLY.name, VEHICLE_EFFICIENCY_HOURLY.name, CHARGING_SESSION.name)

SESSIONS = dg.AssetSpec(
    CHARGING_SESSION.name,
    deps=[
        STRETCHES.key,
        VEHICLES.key,
        CHARGERS.key,
        CHARGING_LINKS.key,
        DEVICE_REGISTRY.key,
        TARIFFS.key,
    ],
    group_name="sessions",
    kinds={"deltalake", "polars"},
    owners=OWNERS,
    tags={"layer": "sessions"},
    code_version="1",
    metadata={
        **delta_metadata(CHARGING_SESSION),
        **lineage_metadata(session_sources(CHARGING_SESSION, CHARGING_STRETCH_HOURLY)),
    },
    freshness_policy=FRESH_EACH_HOUR,
    description=(
        "Charging sessions of vehicles, by the UTC day of their begin.\n\n"
        "**How it is computed.** The stretches of a vehicle, merged while no pause between them is "
        "longer than `SESSION_PAUSE_MINUTES`, or for as long as an explicit link of limited time "
        "lasts. A partition is the hour in which a session begins; a run computes all sessions "
        "again that its hours touch. Costs are those of its hours, each by the price of its time "
        "in the tariff of the charger's depot; where a price has changed, the job `daily` prices "
        "the sessions of a day again.\n\n"
        "**Caveats.** `ends` is null while a session goes on, as far as the hours tell that are "
        "computed. Late heartbeats may move its ends, join it with another or divide it: "
        "`session_id` stays, and `supersedes` names what it has taken in."
    ),
)
SESSION_MART = Mart(CHARGING_SESSION, SESSIONS.key)
MART = mart_spec(
    CHARGING_SESSION,
    SESSIONS.key,
    FRESH_EACH_HOUR,
    "The charging sessions of the last `MART_RETENTION_DAYS` in Postgres, for lists and APIs."
    "\n\n**How it is computed.** Not at all: the rows of the lake, replaced in one transaction."
    "\n\n**Caveats.** Older sessions are in the lake alone.",
)
SESSION_SPECS = (SESSIONS, MART)
SESSION_CHECKS = (
    dg.AssetCheckSpec(
        ADDS_UP,
        asset=SESSIONS.key,
        description="The energies of a session are those of the stretches and pauses in its time, "
        "to the microwatt-hour. With `stretches_add_up` of the stretches: energy in sessions and "
        "outside of them is the energy of the hours.",
    ),
    dg.AssetCheckSpec(
        EQUAL,
        asset=MART.key,
        description="The same rows and values as in the lake, of the days whose sessions were "
        "computed, within the retention.",
    ),
)


class SessionChecks(NamedTuple):
    """Results of the checks of sessions, and the sessions that began in each hour."""

    results: list[dg.AssetCheckResult]
    counts: Mapping[datetime, int]


def publish_sessions(
    lake: Lake, warehouse: WarehouseResource, hours: Sequence[datetime], now: datetime
) -> SessionChecks:
    """Compute the sessions that these hours touch, and copy those within the retention."""
    settings = EnergySettings()
    uneven, differing, begun, judged = [], [], [], set(hours)
    with warehouse.autocommit() as connection, warehouse.arrow() as arrow:
        through, pricing = newest_computed_end(connection, now), known_pricing(connection)
        for stretch in contiguous_hours(hours, _HOURS_AT_ONCE):
            around = stretch[0] - REACH, stretch[-1] + HOUR + REACH
            with fail_on_unreadable(lake, _READ, *around):
                renewal = renewed_sessions(lake, connection, stretch, through, settings, pricing)
                days = _replace(lake, renewal)
            with warehouse.transaction() as transaction:
                _publish(transaction, renewal, now)
            uneven.append(uneven_sessions(renewal.new, renewal.stretches))
            hour = pl.col("begins").dt.truncate("1h")
            judged.update(pl.concat([renewal.old, renewal.new]).select(hour).to_series())
            begun.append(renewal.new.select(hour))
            differing.append(_compare(lake, arrow, days, now))
        results = [
            latched_result(
                connection,
                ADDS_UP,
                pl.concat(uneven),
                sorted(judged),
                what="sessions whose parts do not add up",
                asset_key=SESSIONS.key,
                severity=dg.AssetCheckSeverity.WARN,
            ),
            latched_result(
                connection,
                EQUAL,
                pl.concat(differing),
                sorted(judged),
                what="sessions that differ from the lake",
                asset_key=MART.key,
                since=SESSION_MART.first(now),
            ),
        ]
    return SessionChecks(results, dict(pl.concat(begun)["begins"].value_counts().iter_rows()))


def _replace(lake: Lake, renewal: Renewal) -> list[datetime]:
    """Put the new sessions into the days in which they or the old ones begin; return these days."""
    both = pl.concat([renewal.old, renewal.new])
    days = sorted({datetime.combine(moment.date(), time(), UTC) for moment in both["begins"]})
    is_old = pl.col("session_id").is_in(renewal.old["session_id"].to_list())
    for stretch in contiguous_ranges(days, DAY, len(days)):
        window = stretch[0], stretch[-1] + DAY
        new = renewal.new.filter(pl.col("begins").is_between(*window, closed="left"))

        def changed(there: pl.DataFrame, new: pl.DataFrame = new) -> pl.DataFrame:
            return pl.concat([there.filter(~is_old), new])

        change_window(lake, CHARGING_SESSION, changed, *window)
    return days


def _publish(connection: psycopg.Connection, renewal: Renewal, now: datetime) -> None:
    spans = {
        name: renewal.spans[column].to_list()
        for name, column in (("vehicles", "vehicle_id"), ("since", "since"), ("until", "until"))
    }
    connection.execute(query("delete_charging_sessions"), spans)
    SESSION_MART.add(connection, renewal.new.filter(pl.col("begins") >= SESSION_MART.first(now)))


def _compare(
    lake: Lake, connection: dbapi.Connection, days: Sequence[datetime], now: datetime
) -> pl.DataFrame:
    """Hour and key of the sessions of these days that differ between the lake and Postgres."""
    key = CHARGING_SESSION.key
    found = [pl.DataFrame(schema={"vehicle_id": pl.String, "begins": pl.Datetime("us", "UTC")})]
    for stretch in contiguous_ranges(days, DAY, len(days)):
        start, end = stretch[0], stretch[-1] + DAY
        expected = SESSION_MART.lake_rows(lake, start, end, now)
        rows = SESSION_MART.rows(connection, max(start, SESSION_MART.first(now)), end, expected)
        found.append(differing_rows(expected, rows, key))
    return pl.concat(found).with_columns(hour_start=pl.col("begins").dt.truncate("1h"))
