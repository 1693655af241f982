"""The condition of devices on a UTC day: what the tables say, from the sessions of a year."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple

import polars as pl
import psycopg

from lake import DAY, HOUR, Lake, hours_between
from lake.condition import (
    ANOMALIES,
    DECISIONS,
    PRICES,
    SESSIONS,
    TRENDS,
    FleetCondition,
    TooFewSessions,
    apply_decisions,
    assess_condition,
    excess_loss,
    update_maintenance,
)
from lake.costs import Pricing
from lake.delta import scan_window
from lake.schema import (
    CHARGING_SESSION,
    DEVICE_ANOMALY,
    EFFICIENCY_TREND,
    MAINTENANCE_VISIT,
    SESSION_EXCESS_LOSS,
    TableSpec,
)
from lake.sessions import LONGEST_SESSION
from warehouse_sql.named_queries import query

YEAR: Final = timedelta(days=366)
"""Sessions of so long before the end of a day tell its condition."""

_PRICED_HOURS: Final = 7 * 24
_OF_LOSSES: Final = ("session_id", "loss_kwh", "cost_of_energy", "currency")


class ConditionDay(NamedTuple):
    """The rows of a day by the name of their table, and what they rest on."""

    tables: dict[str, pl.DataFrame]
    """With the columns of each table, sorted by its key; of what could not be known none."""
    sessions: int
    first_session_at: datetime | None
    too_few: str | None
    """Why nothing could be told: there are too few sessions."""


def read_ended_sessions(lake: Lake, days: Sequence[date]) -> pl.DataFrame:
    """Read SESSIONS of the year before the ends of contiguous days, of those that have ended.

    `ends` is when the session was over: that of its explicit link, where it has one.
    """
    return _ended(lake, midnight(days[0]) + DAY - YEAR, midnight(days[-1]) + DAY, ())


def condition_of_day(
    lake: Lake,
    sessions: pl.DataFrame,
    listed: pl.DataFrame,
    day: date,
    pricing: Pricing | None,
    limit_percent: float,
) -> ConditionDay:
    """Compute the tables of a day, from `read_ended_sessions` and the list of the day before.

    `listed` has MAINTENANCE, with what people have decided until the end of the day. Efficiencies
    below `limit_percent` are beyond the limit that `days_to_limit` is about.
    """
    through = midnight(day) + DAY
    known = sessions.filter(pl.col("begins") >= through - YEAR, pl.col("ends") < through)
    try:
        found, too_few = assess_condition(known, through, limit_percent), None
    except TooFewSessions as error:
        found, too_few = None, str(error)
    anomalies = pl.DataFrame(schema=ANOMALIES) if found is None else found.anomalies
    prices = device_prices(known, pricing, through)
    visits = update_maintenance(listed, anomalies, through, prices)
    trends = pl.DataFrame(schema=TRENDS) if found is None else found.trends
    losses = _no_rows(SESSION_EXCESS_LOSS)
    if found is not None:
        losses = _losses(lake, found, day)
    tables = {
        SESSION_EXCESS_LOSS.name: losses.sort(SESSION_EXCESS_LOSS.key),
        EFFICIENCY_TREND.name: _of_day(EFFICIENCY_TREND, trends, day),
        DEVICE_ANOMALY.name: _of_day(DEVICE_ANOMALY, anomalies, day),
        MAINTENANCE_VISIT.name: _of_day(MAINTENANCE_VISIT, visits, day),
    }
    first = known["begins"].min()
    assert first is None or isinstance(first, datetime)
    return ConditionDay(tables, known.height, first, too_few)


def decided_until(
    connection: psycopg.Connection, listed: pl.DataFrame, before: date | None, day: date
) -> pl.DataFrame:
    """The list of the day `before`, MAINTENANCE, with what people have decided until `day` ends."""
    start = datetime.min.replace(tzinfo=UTC) if before is None else midnight(before) + DAY
    asked = {"start": start, "end": midnight(day) + DAY}
    rows = connection.execute(query("maintenance_decisions_between"), asked).fetchall()
    return apply_decisions(listed, pl.DataFrame(rows, schema=DECISIONS, orient="row"))


def day_before(connection: psycopg.Connection, day: date) -> date | None:
    """The newest day before another whose condition was computed."""
    ((before,),) = connection.execute(query("condition_day_before"), {"day": day}).fetchall()
    found: date | None = before
    return found


def judged_days(connection: psycopg.Connection) -> list[date]:
    """The days with sessions enough that an empty list means nobody is to be visited."""
    return [day for (day,) in connection.execute(query("judged_condition_days"))]


def visits_of_day(lake: Lake, day: date) -> pl.DataFrame:
    """The rows of MAINTENANCE_VISIT of a day, sorted by its key."""
    spec, start = MAINTENANCE_VISIT, midnight(day)
    rows = scan_window(lake, lake.open(spec.name), spec, start, start + DAY)
    return rows.sort(spec.key).collect()


def device_prices(sessions: pl.DataFrame, pricing: Pricing | None, at: datetime) -> pl.DataFrame:
    """PRICES of all devices: the mean price of the week before, by the tariff of the charger.

    That of a vehicle is the tariff of the charger that gave it the most energy in `sessions`.
    """
    if pricing is None:
        return pl.DataFrame(schema=PRICES)
    hours = hours_between(at - _PRICED_HOURS * HOUR, at)
    given = (
        sessions.lazy()
        .filter(pl.col("meter_ids").list.len() > 0)
        .group_by("vehicle_id", meter_id=pl.col("meter_ids").list.first())
        .agg(pl.col("energy_ac_kwh").sum())
        .sort("vehicle_id", "energy_ac_kwh", "meter_id", descending=[False, True, False])
    )
    chargers = given.select("meter_id").unique().with_columns(device_id="meter_id")
    vehicles = given.unique("vehicle_id", keep="first", maintain_order=True).select(
        "meter_id", device_id="vehicle_id"
    )
    devices = pl.concat(
        [
            chargers.select("meter_id", "device_id", device_kind=pl.lit("meter")),
            vehicles.select("meter_id", "device_id", device_kind=pl.lit("vehicle")),
        ]
    )
    return (
        pricing.of_chargers(devices)
        .join(pricing.mean_prices(hours), on="tariff")
        .filter(pl.col("price_per_kwh").is_not_null())
        .select(PRICES.keys())
        .collect()
    )


def midnight(day: date) -> datetime:
    """The start of a UTC day."""
    return datetime.combine(day, time(), UTC)


def _losses(lake: Lake, found: FleetCondition, day: date) -> pl.DataFrame:
    start, end = midnight(day), midnight(day) + DAY
    on_day = pl.col("ends").is_between(start, end, closed="left")
    counted = excess_loss(found.sessions.filter(on_day & pl.col("is_measured")))
    more = _ended(lake, start - LONGEST_SESSION - DAY, end, _OF_LOSSES)
    rows = counted.join(
        more.select("vehicle_id", "begins", *_OF_LOSSES), on=["vehicle_id", "begins"]
    )
    price = pl.col("cost_of_energy").cast(pl.Float64) / pl.col("energy_ac_kwh")
    return rows.with_columns(excess_cost=(pl.col("excess_loss_kwh") * price).round(6)).select(
        SESSION_EXCESS_LOSS.names
    )


def _ended(lake: Lake, start: datetime, end: datetime, more: Sequence[str]) -> pl.DataFrame:
    spec = CHARGING_SESSION
    over = pl.max_horizontal("ends", "plugged_to")
    return (
        scan_window(lake, lake.open(spec.name), spec, start, end)
        .filter(pl.col("ends").is_not_null())
        .with_columns(ends=over)
        .select(*SESSIONS, *more)
        .collect()
    )


def _of_day(spec: TableSpec, rows: pl.DataFrame, day: date) -> pl.DataFrame:
    return rows.with_columns(date=pl.lit(day)).select(spec.names).sort(spec.key)


def _no_rows(spec: TableSpec) -> pl.DataFrame:
    return pl.DataFrame(spec.schema.empty_table()).select(spec.names)
