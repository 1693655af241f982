"""Assets of the condition of devices: excess losses, trends, anomalies, and the list of visits."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime

import dagster as dg
import polars as pl
import psycopg

from lake import DAY, HOUR, EnergySettings, Lake
from lake.condition import CLOSE_AFTER, no_maintenance
from lake.delta import replace_if_changed
from lake.schema import (
    CHARGING_SESSION,
    CONDITION_TABLES,
    DEVICE_ANOMALY,
    EFFICIENCY_TREND,
    MAINTENANCE_VISIT,
    SESSION_EXCESS_LOSS,
    TableSpec,
)
from pipelines.assets.lineage import (
    Sources,
    condition_sources,
    lineage_metadata,
    loss_sources,
    visit_sources,
)
from pipelines.assets.mart import mart_spec
from pipelines.assets.metadata import (
    EQUAL,
    FRESH_EACH_MORNING,
    OWNERS,
    RETRIES,
    delta_metadata,
)
from pipelines.assets.read_failures import fail_on_unreadable
from pipelines.assets.sessions import SESSIONS
from pipelines.checks.results import check_result, selected_results
from pipelines.checks.rules import differing_rows, uneven_losses, unfounded_visits
from pipelines.compute.condition import (
    YEAR,
    ConditionDay,
    condition_of_day,
    day_before,
    decided_until,
    midnight,
    read_ended_sessions,
    visits_of_day,
)
from pipelines.compute.pricing import read_pricing
from pipelines.partitions import DAILY, days_of_run
from pipelines.resources import LakeResource, WarehouseResource
from warehouse_sql.named_queries import query

LOSSES_ADD_UP, HAS_A_REASON = "excess_losses_add_up", "visits_have_a_reason"
_POOL = "device_condition"


def _spec(
    table: TableSpec, deps: Sequence[dg.AssetKey], sources: Sources, how: str, caveats: str
) -> dg.AssetSpec:
    said = table.description
    return dg.AssetSpec(
        table.name,
        deps=deps,
        group_name="condition",
        kinds={"deltalake", "polars"},
        owners=OWNERS,
        tags={"layer": "condition"},
        code_version="1",
        metadata={**delta_metadata(table), **lineage_metadata(sources)},
        freshness_policy=FRESH_EACH_MORNING,
        description=(
            f"{said[0].upper()}{said[1:]}.\n\n"
            f"**How it is computed.** {how}\n\n**Caveats.** {caveats}"
        ),
    )


_ESTIMATE = "An estimate, which bills nobody; docs/condition.md says how sure it is. "
_FEW = "There are no rows while the fleet has less than 200 sessions of 5 vehicles."
LOSSES = _spec(
    SESSION_EXCESS_LOSS,
    [SESSIONS.key],
    loss_sources(SESSION_EXCESS_LOSS, CHARGING_SESSION),
    "What the healthy sessions of the year before the end of the day reach at a charger class, a "
    "power and a temperature is fitted; each session that ended on the day is compared with it.",
    _ESTIMATE + _FEW,
)
TRENDS = _spec(
    EFFICIENCY_TREND,
    [SESSIONS.key],
    condition_sources(EFFICIENCY_TREND, CHARGING_SESSION),
    "Weekly levels of each device, less what is usual of the others, and the course that explains "
    "most of them.",
    f"{_ESTIMATE}A device needs eight weeks with sessions. {_FEW}",
)
ANOMALIES = _spec(
    DEVICE_ANOMALY,
    [SESSIONS.key],
    condition_sources(DEVICE_ANOMALY, CHARGING_SESSION),
    "Losses that have grown, all at once or bit by bit, or that are beyond those of all others, "
    "each charged to the charger or the vehicle; and registers, units, clocks, links and phases "
    "that are wrong.",
    _ESTIMATE + _FEW,
)
VISITS = _spec(
    MAINTENANCE_VISIT,
    [ANOMALIES.key],
    visit_sources(MAINTENANCE_VISIT, DEVICE_ANOMALY),
    "The list of the day before, what people have closed or opened again until the end of the day, "
    "and the anomalies of the day: a visit opens once one was seen for a week, and closes four "
    "weeks after it was last seen.",
    "It follows from the day before: who computes an old day again asks for all since then.",
)
MART = mart_spec(
    MAINTENANCE_VISIT,
    VISITS.key,
    FRESH_EACH_MORNING,
    "The list of whom to visit of the newest day in Postgres.\n\n"
    "**How it is computed.** Not at all: the rows of the lake's newest day.\n\n"
    "**Caveats.** What people have closed since is in `maintenance_decision`; the view "
    "`mart.maintenance` has both.",
    group="condition",
)
SPECS = (LOSSES, TRENDS, ANOMALIES, VISITS)


@dg.multi_asset(
    name="device_condition",
    specs=[*SPECS, MART],
    check_specs=[
        dg.AssetCheckSpec(
            LOSSES_ADD_UP,
            asset=LOSSES.key,
            description="The loss of a session is the expected one and the one beyond it.",
        ),
        dg.AssetCheckSpec(
            HAS_A_REASON,
            asset=VISITS.key,
            description="Each visit that is open or waiting has an anomaly of its day, or was seen "
            "in the four weeks before.",
        ),
        dg.AssetCheckSpec(
            EQUAL,
            asset=MART.key,
            description="The same rows and values as in the lake, of the newest day.",
        ),
    ],
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=_POOL,
    retry_policy=RETRIES,
    can_subset=True,
)
def device_condition(
    context: dg.AssetExecutionContext, lake: LakeResource, warehouse: WarehouseResource
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Compute the days of the run, each from the list of the day before; publish the newest one."""
    tables, settings, started = lake.lake(), EnergySettings(), datetime.now(UTC)
    days = days_of_run(context)
    uneven, unfounded = [], []
    window = midnight(days[0]) + DAY - YEAR, midnight(days[-1]) + DAY
    names = [CHARGING_SESSION.name, *(spec.name for spec in CONDITION_TABLES)]
    with warehouse.autocommit() as connection, fail_on_unreadable(tables, names, *window):
        pricing = read_pricing(connection, settings)
        sessions = read_ended_sessions(tables, days)
        before = day_before(connection, days[0])
        listed = no_maintenance() if before is None else visits_of_day(tables, before)
        for day in days:
            listed = decided_until(connection, listed, before, day)
            limit = settings.warning_from_percent
            found = condition_of_day(tables, sessions, listed, day, pricing, limit)
            versions = _write(tables, found.tables, day)
            _mark(connection, found, day, started)
            _report(context, found, day)
            before, listed = day, found.tables[MAINTENANCE_VISIT.name]
            uneven.append(uneven_losses(found.tables[SESSION_EXCESS_LOSS.name]))
            anomalies = found.tables[DEVICE_ANOMALY.name]
            unfounded.append(unfounded_visits(listed, anomalies, midnight(day) + DAY, CLOSE_AFTER))
        differing = _publish(tables, warehouse, connection)
    for spec in (*SPECS, MART):
        if spec.key in context.selected_asset_keys:
            version = versions.get(spec.key.to_user_string())
            yield dg.MaterializeResult(
                asset_key=spec.key, metadata={} if version is None else {"delta_version": version}
            )
    hours = [midnight(days[0]), midnight(days[-1]) + DAY - HOUR]
    results = [
        check_result(
            name, offenders, hours, what=what, asset_key=key, severity=dg.AssetCheckSeverity.WARN
        )
        for name, offenders, what, key in (
            (LOSSES_ADD_UP, pl.concat(uneven), "sessions whose loss does not add up", LOSSES.key),
            (HAS_A_REASON, pl.concat(unfounded), "visits without a reason", VISITS.key),
            (EQUAL, differing, "visits that differ from the lake", MART.key),
        )
    ]
    yield from selected_results(context, results)


def maintenance_rows(connection: psycopg.Connection) -> pl.DataFrame:
    """The rows of the list in Postgres, with the columns of MAINTENANCE_VISIT."""
    rows = connection.execute(query("maintenance_visits")).fetchall()
    types = pl.DataFrame(MAINTENANCE_VISIT.schema.empty_table()).select(MAINTENANCE_VISIT.names)
    return pl.DataFrame(rows, schema=types.schema, orient="row")


def _write(lake: Lake, rows: Mapping[str, pl.DataFrame], day: date) -> dict[str, int]:
    start = midnight(day)
    return {
        spec.name: replace_if_changed(lake, spec, rows[spec.name], start, start + DAY)
        for spec in CONDITION_TABLES
    }


def _mark(
    connection: psycopg.Connection, found: ConditionDay, day: date, started: datetime
) -> None:
    connection.execute(
        query("mark_condition"),
        {
            "day": day,
            "computed_at": started,
            "sessions": found.sessions,
            "first_session_at": found.first_session_at,
        },
    )


def _publish(
    lake: Lake, warehouse: WarehouseResource, connection: psycopg.Connection
) -> pl.DataFrame:
    """Let Postgres have the list of the newest day; return the key of what differs after it."""
    ((newest, *_),) = connection.execute(query("newest_condition_day")).fetchall()
    rows = visits_of_day(lake, newest)
    with warehouse.transaction() as transaction:
        transaction.execute(query("delete_maintenance_visits"))
        with transaction.cursor().copy(query("copy_maintenance_visits")) as copy:
            for row in rows.iter_rows():
                copy.write_row(row)
    there = maintenance_rows(connection)
    return differing_rows(rows, there, MAINTENANCE_VISIT.key)


def _report(context: dg.AssetExecutionContext, found: ConditionDay, day: date) -> None:
    """Metadata of one day: numbers that the pages of the assets plot over the partitions."""
    visits = found.tables[MAINTENANCE_VISIT.name]
    figures: dict[str, dict[str, object]] = {
        SESSION_EXCESS_LOSS.name: {
            "excess_loss_kwh": found.tables[SESSION_EXCESS_LOSS.name]["excess_loss_kwh"].sum()
        },
        EFFICIENCY_TREND.name: {"sessions": found.sessions},
        DEVICE_ANOMALY.name: dict(
            found.tables[DEVICE_ANOMALY.name]["kind"].value_counts().iter_rows()
        ),
        MAINTENANCE_VISIT.name: dict(visits["state"].value_counts().iter_rows()),
    }
    if found.too_few is not None:
        context.log.warning(f"{day}: {found.too_few}")
    for spec in SPECS:
        if spec.key in context.selected_asset_keys:
            name = spec.key.to_user_string()
            rows = {"dagster/partition_row_count": found.tables[name].height}
            context.add_asset_metadata(
                {**rows, **figures[name]}, asset_key=spec.key, partition_key=f"{day:%Y-%m-%d}"
            )
