"""Checks beyond a single run: hours that nobody computes, and a ledger that counts wrongly."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl

from lake import HOUR, STREAMS, Stream, hour_of, rows_by_hour
from pipelines.assets.hourly import FLEET
from pipelines.assets.raw import RAW_SPECS
from pipelines.checks.results import check_result
from pipelines.checks.rules import miscounted_hours
from pipelines.ledger import (
    WaitingHour,
    appends_uncounted,
    counted_hours,
    first_hour,
    import_under_way,
    newest_published_hour,
    waiting_hours,
)
from pipelines.resources import LakeResource, WarehouseResource

IN_TIME, COUNTED = "computed_in_time", "ledger_agrees_with_log"
# The run of an hour takes seconds and begins minutes after its end.
_LONGEST_WAIT = timedelta(hours=2)


@dg.asset_check(
    asset=FLEET.key,
    name=IN_TIME,
    description="No hour waits longer than two hours for its computation, and the newest computed "
    "hour ended less than two hours ago. Otherwise heartbeats do not arrive or the runs fail.",
)
def computed_in_time(warehouse: WarehouseResource) -> dg.AssetCheckResult:
    """Compare the ledger with the clock."""
    now = datetime.now(UTC)
    with warehouse.autocommit() as connection:
        newest = newest_published_hour(connection, now)
        waiting = waiting_hours(connection, first_hour(connection), now)
    overdue = overdue_hours(waiting, newest, now)
    hours = overdue["hour"].to_list() or [newest or hour_of(now)]
    return check_result(IN_TIME, overdue, hours, what="hours that are not computed")


def ledger_check(stream: Stream) -> dg.AssetChecksDefinition:
    """The check that the ledger counts the raw rows of a stream as the Delta log does."""

    @dg.asset_check(
        asset=RAW_SPECS[stream.name].key,
        name=COUNTED,
        description="The ledger counts as many raw rows of each hour as the Delta log. An hour "
        "that the ledger does not know is never computed; `wattlake verify --repair` rebuilds it.",
    )
    def agrees(lake: LakeResource, warehouse: WarehouseResource) -> dg.AssetCheckResult:
        with warehouse.autocommit() as connection:
            if import_under_way(connection):
                return dg.AssetCheckResult(
                    check_name=COUNTED,
                    passed=True,
                    description="not looked at: files are being imported, and the ledger is behind "
                    "the lake until that has ended",
                )
            if appends_uncounted(connection, stream):
                return dg.AssetCheckResult(
                    check_name=COUNTED,
                    passed=True,
                    description="not looked at: the lake writer has yet to count what other "
                    "databases have appended",
                )
            ledger = counted_hours(connection, stream)
        # As it was when the ledger last heard of it: what was appended since is on its way.
        log = {} if ledger.version is None else rows_by_hour(lake.lake(), stream, ledger.version)
        return check_result(
            COUNTED,
            miscounted_hours(ledger.rows, log, dropped=ledger.dropped),
            sorted({*ledger.rows, *log}) or [hour_of(datetime.now(UTC))],
            what="hours of which ledger and Delta log count other rows",
        )

    return agrees


WATCHED = [computed_in_time, *(ledger_check(stream) for stream in STREAMS.values())]


def overdue_hours(
    waiting: list[WaitingHour], newest: datetime | None, now: datetime
) -> pl.DataFrame:
    """Hours that have waited too long, and the newest computed one if it is too old: hour, why."""
    found = {
        (one.hour, f"{one.stream} heartbeats wait since {one.last_arrival:%Y-%m-%d %H:%M} UTC")
        for one in waiting
        if _waits_since(one, now) + _LONGEST_WAIT < now
    }
    if newest is not None and newest + HOUR + _LONGEST_WAIT < now:
        found.add((newest, "is the newest hour that is computed"))
    return pl.DataFrame(
        sorted(found), schema={"hour": pl.Datetime("us", "UTC"), "why": pl.String}, orient="row"
    )


def _waits_since(waiting: WaitingHour, now: datetime) -> datetime:
    end, arrival = waiting.hour + HOUR, waiting.last_arrival
    return end if arrival > now else max(end, arrival)  # received while a clock was ahead
