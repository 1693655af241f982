"""Charging sessions computed again where hours have changed: those that touch them alone."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import polars as pl
import psycopg

from lake import HOUR, EnergySettings, Lake, hour_of
from lake.costs import Pricing, needs_chargers, price_sessions
from lake.delta import scan_window
from lake.schema import (
    CHARGER_EFFICIENCY_HOURLY,
    CHARGING_SESSION,
    CHARGING_STRETCH_HOURLY,
    VEHICLE_EFFICIENCY_HOURLY,
    TableSpec,
)
from lake.sessions import (
    LINKS,
    LONGEST_SESSION,
    charging_sessions,
    hours_as_stretches,
    identified_sessions,
)
from warehouse_sql.named_queries import query

REACH: Final = LONGEST_SESSION + timedelta(days=1)
"""How far from its hours a run reads."""

_TIME: Final = pl.Datetime("us", "UTC")
_SPAN: Final = {"vehicle_id": pl.String(), "since": _TIME, "until": _TIME}


class Renewal(NamedTuple):
    """Sessions computed again: `new` are all that lie in `spans`, and take the place of `old`."""

    spans: pl.DataFrame
    """vehicle_id, since, until: no session reaches over an edge of them."""
    old: pl.DataFrame
    new: pl.DataFrame
    """Both with the columns of CHARGING_SESSION, sorted by its key."""
    stretches: pl.DataFrame
    """What `new` was merged from."""


def renewed_sessions(
    lake: Lake,
    connection: psycopg.Connection,
    hours: Sequence[datetime],
    through: datetime,
    settings: EnergySettings,
    pricing: Pricing | None,
) -> Renewal:
    """Compute all sessions that contiguous hours may have changed, from the stretches in the lake.

    `through` is the end of the newest hour that was computed. Where the hours reach up to it, those
    that were going on are among them, too.
    """
    start, end = hours[0], hours[-1] + HOUR
    links = _limited_links(connection, start - REACH, end + REACH, settings)
    stored = _sessions(lake, start - REACH, end + REACH)
    spans = _changed_spans(lake, stored, links, (start, end), through, settings)
    stretches = _stretches(lake, spans, links)
    found = charging_sessions(stretches, links, through, settings)
    old = _within(stored, spans, "begins", "last_energy_at")
    new = identified_sessions(found, old).sort(CHARGING_SESSION.key)
    new = price_sessions(new, stretches, _chargers(lake, spans, pricing), pricing)
    return Renewal(spans, _whole_rows(lake, old), new, stretches)


def newest_computed_end(connection: psycopg.Connection, now: datetime) -> datetime:
    """The end of the newest hour that was computed; hours after now came from a clock ahead."""
    ((hour,),) = connection.execute(query("newest_computed_hour"), {"now": now}).fetchall()
    newest: datetime = hour or now - HOUR
    return hour_of(newest) + HOUR


def _changed_spans(
    lake: Lake,
    stored: pl.DataFrame,
    links: pl.DataFrame,
    window: tuple[datetime, datetime],
    through: datetime,
    settings: EnergySettings,
) -> pl.DataFrame:
    """What is near the window of each vehicle, and all that is no further than a pause from that.

    Stored sessions tell where they begin and end; where stretches reach on that are in none, as
    after the loss of a file, more of them are read.
    """
    pause = timedelta(minutes=settings.session_pause_minutes)
    first, last, step = window[0] - HOUR, window[1] + HOUR, HOUR
    known = pl.concat(
        [
            stored.select(
                "vehicle_id",
                since="begins",
                until="last_energy_at",
                goes_on=pl.col("ends").is_null() & (window[1] >= through),
                is_bound=True,
            ),
            links.select(
                "vehicle_id",
                since="valid_from",
                until=pl.min_horizontal("valid_to", pl.lit(through).cast(_TIME)),
                goes_on=False,
                is_bound=True,
            ).filter(pl.col("since") < pl.col("until")),
        ]
    )
    while True:
        read = _charging(lake, first, last)
        spans = _joined(pl.concat([known, read]), pause)
        near = (pl.col("since") <= window[1] + pause) & (pl.col("until") >= window[0] - pause)
        spans = spans.filter(near | pl.col("goes_on"))
        is_open = spans.select(
            before=(~pl.col("begins_bound") & (pl.col("since") <= first + pause)).any(),
            after=(~pl.col("ends_bound") & (pl.col("until") >= last - pause)).any(),
        )
        before, after = is_open.row(0)
        after = after and last < through
        if not (before or after) or step > REACH:
            return spans.select(_SPAN.keys())
        first, last = first - step * before, last + step * after
        step *= 2


def _joined(items: pl.DataFrame, pause: timedelta) -> pl.DataFrame:
    """Items of a vehicle that are no further apart than a pause as one span."""
    reach = pl.col("until").cum_max().over("vehicle_id")
    return (
        items.lazy()
        .sort("vehicle_id", "since", "until")
        .with_columns(reach=reach)
        .with_columns(
            begins=(
                pl.col("since") > pl.col("reach").shift(1).over("vehicle_id") + pause
            ).fill_null(True)
        )
        .with_columns(group=pl.col("begins").cast(pl.Int64).cum_sum())
        .group_by("vehicle_id", "group", maintain_order=True)
        .agg(
            since=pl.col("since").min(),
            until=pl.col("until").max(),
            goes_on=pl.col("goes_on").any(),
            begins_bound=(pl.col("is_bound") & (pl.col("since") == pl.col("since").min())).any(),
            ends_bound=(pl.col("is_bound") & (pl.col("until") == pl.col("until").max())).any(),
        )
        .collect()
    )


def _stretches(lake: Lake, spans: pl.DataFrame, links: pl.DataFrame) -> pl.DataFrame:
    """The rows of the stretches in the spans, and of the hours without any between them."""
    if spans.is_empty():
        return _no_rows(CHARGING_STRETCH_HOURLY)
    table = lake.open(CHARGING_STRETCH_HOURLY.name)
    window = _hours_around(spans)
    rows = scan_window(lake, table, CHARGING_STRETCH_HOURLY, *window)
    found = _within(rows.filter(pl.col("vehicle_id").is_in(_ids(spans))).collect(), spans)
    # A pause of an hour and more is part of a session only where a link tells so.
    plugged = spans.join(links.select("vehicle_id"), on="vehicle_id", how="semi")
    if plugged.is_empty():
        return found
    hourly = VEHICLE_EFFICIENCY_HOURLY
    hours = scan_window(lake, lake.open(hourly.name), hourly, *_hours_around(plugged))
    between = (
        hours.filter(pl.col("vehicle_id").is_in(_ids(plugged)))
        .collect()
        .join(found, on=["vehicle_id", "hour_start"], how="anti")
    )
    return pl.concat([found, _within(hours_as_stretches(between), plugged)])


def _chargers(lake: Lake, spans: pl.DataFrame, pricing: Pricing | None) -> pl.DataFrame:
    """The hours of chargers by which sessions in the spans are priced, none where they need not."""
    spec = CHARGER_EFFICIENCY_HOURLY
    if spans.is_empty() or not needs_chargers(pricing, VEHICLE_EFFICIENCY_HOURLY):
        return _no_rows(spec)
    return scan_window(lake, lake.open(spec.name), spec, *_hours_around(spans)).collect()


def _within(
    rows: pl.DataFrame, spans: pl.DataFrame, begins: str = "begins", ends: str = "ends"
) -> pl.DataFrame:
    """The rows that have a part in a span of their vehicle."""
    key = [begins, "vehicle_id"]
    here = (
        rows.lazy()
        .select(*key, pl.col(ends).alias("_ends"))
        .join(spans.lazy(), on="vehicle_id")
        .filter(pl.col(begins) < pl.col("until"), pl.col("_ends") > pl.col("since"))
        .select(key)
        .unique()
    )
    return rows.lazy().join(here, on=key, how="semi").collect()


def _charging(lake: Lake, start: datetime, end: datetime) -> pl.DataFrame:
    """When vehicles charged, by their stretches."""
    spec = CHARGING_STRETCH_HOURLY
    return (
        scan_window(lake, lake.open(spec.name), spec, start, end)
        .filter(pl.col("evidence").is_not_null())
        .select(
            "vehicle_id",
            since=pl.min_horizontal("begins", "silent_since"),
            until="ends",
            goes_on=False,
            is_bound=False,
        )
        .collect()
    )


def _sessions(lake: Lake, start: datetime, end: datetime) -> pl.DataFrame:
    """What tells the stored sessions that begin in a window apart."""
    spec = CHARGING_SESSION
    names = ("session_id", "vehicle_id", "begins", "ends", "last_energy_at", "supersedes")
    return scan_window(lake, lake.open(spec.name), spec, start, end).select(names).collect()


def _whole_rows(lake: Lake, sessions: pl.DataFrame) -> pl.DataFrame:
    """The whole rows of stored sessions."""
    spec = CHARGING_SESSION
    if sessions.is_empty():
        return _no_rows(spec)
    first, last = sessions.select(first=pl.min("begins"), last=pl.max("begins")).row(0)
    rows = scan_window(lake, lake.open(spec.name), spec, hour_of(first), hour_of(last) + HOUR)
    ids = sessions["session_id"].to_list()
    return rows.filter(pl.col("session_id").is_in(ids)).collect().sort(spec.key)


def _limited_links(
    connection: psycopg.Connection, start: datetime, end: datetime, settings: EnergySettings
) -> pl.DataFrame:
    longest = timedelta(hours=settings.plugged_link_hours)
    asked = {"start": start, "end": end, "longest": longest}
    rows = connection.execute(query("limited_links_between"), asked).fetchall()
    return pl.DataFrame(rows, schema=LINKS, orient="row")


def _hours_around(spans: pl.DataFrame) -> tuple[datetime, datetime]:
    since, until = spans.select(pl.min("since"), pl.max("until")).row(0)
    return hour_of(since), hour_of(until.astimezone(UTC)) + HOUR


def _ids(spans: pl.DataFrame) -> list[str]:
    ids: list[str] = spans["vehicle_id"].unique().to_list()
    return ids


def _no_rows(spec: TableSpec) -> pl.DataFrame:
    return pl.DataFrame(spec.schema.empty_table()).select(spec.names)
