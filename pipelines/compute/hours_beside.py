"""Hours beside those of a run that its heartbeats change, because they are their context.

A heartbeat is context of the hours as far as the READINGS_BESIDE readings before it and after it
reach, and of those in which its device is silent since: it tells how many heartbeats they lack.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl
import psycopg

from lake import (
    HOUR,
    STREAMS,
    Compaction,
    EnergySettings,
    Lake,
    Stream,
    hour_of,
    hours_between,
    scan_history,
)
from lake.delta import READ_ERRORS, find_damaged_files
from lake.energy import jumps_after_standstill
from lake.health import LOOK_BACK
from lake.history import LONGEST_CADENCE, READINGS_BESIDE, no_heartbeats
from pipelines.ledger import computed_hours, reopen_beside
from warehouse_sql.named_queries import query

_EVER: Final = timedelta(days=36_500)
_REACH: Final = 1.5  # of the time to the next reading: so far back a first reading may begin
_PLACE, _CHANGED = "_place", "_changed"
_NONE: Final = {name: no_heartbeats(stream).select(stream.key) for name, stream in STREAMS.items()}


def reopen_hours_beside(
    lake: Lake,
    connection: psycopg.Connection,
    stream: Stream,
    done: Sequence[Compaction],
    dirty: Mapping[datetime, datetime | None],
    settings: EnergySettings,
) -> None:
    """Open again what the compaction of contiguous hours changes outside of them.

    `dirty` are those that waited for it, as `dirty_hours` tells. Ask before they are marked as
    compacted, so that a run that dies in between comes here again. An hour that was computed when
    it closed has seen some of the heartbeats after it; what it lacked was noted, or came later.
    """
    start, end = done[0].hour, done[-1].hour + HOUR
    # What a run that died has taken in is all that waits: nobody knows any more what it changed.
    done = [
        c if c.changed or c.hour in dirty else replace(c, changes=_NONE[stream.name]) for c in done
    ]
    fresh = {hour: since for hour, since in dirty.items() if since is not None}
    before = computed_hours(connection, start - LONGEST_CADENCE, start)
    after = computed_hours(connection, end, end + _EVER)
    found: set[datetime] = set()
    try:
        if before:
            found |= _changed_before(lake, connection, stream, done, fresh, before, settings)
        if after:
            found |= _changed_after(lake, stream, done, after, settings)
        found |= _that_cross(lake, connection, stream, done, fresh)
    except READ_ERRORS:
        # What can't be read has to be computed again itself; all around it may have changed.
        found |= before.keys() | {hour for hour in after if hour < end + LONGEST_CADENCE}
    reopen_beside(connection, found, start)


def without_lost_hours(lake: Lake, hours: Collection[datetime]) -> list[datetime]:
    """Return the hours whose history can be read; others wait for what brings it back.

    Raises LakeDamaged where a history is only out of reach.
    """
    return [hour for hour in sorted(hours) if not _is_lost(lake, hour)]


def _is_lost(lake: Lake, hour: datetime) -> bool:
    damaged = [
        one
        for stream in STREAMS.values()
        for one in find_damaged_files(lake, stream.history_table, "timestamp", hour, hour + HOUR)
    ]
    for one in damaged:
        one.require_lost()
    return bool(damaged)


def _changed_before(
    lake: Lake,
    connection: psycopg.Connection,
    stream: Stream,
    done: Sequence[Compaction],
    fresh: Mapping[datetime, datetime],
    before: dict[datetime, datetime | None],
    settings: EnergySettings,
) -> set[datetime]:
    start, series = done[0].hour, list(stream.series)
    near = [compaction for compaction in done if compaction.hour < start + LONGEST_CADENCE]
    parts = []
    frozen = set[datetime]()
    for number, rows in enumerate(_readings(lake, stream, near)):
        if not number:
            frozen = _that_froze(rows, stream, start - HOUR, fresh, before, settings)
        parts.append(rows.group_by(series, maintain_order=True).head(READINGS_BESIDE))
    readings = pl.concat(parts)
    place = pl.int_range(pl.len()).over(series)
    readings = readings.sort(*series, "timestamp").with_columns(place.alias(_PLACE))
    readings = (
        _with_arrival(readings, fresh)
        .with_columns(step=(pl.col("timestamp").shift(-1) - pl.col("timestamp")).over(series))
        .filter(pl.col(_PLACE) < READINGS_BESIDE)
    )
    found = frozen | _that_awaited(connection, stream, readings, start)
    is_first = pl.col(_PLACE) == 0
    news = readings.filter(pl.col(_CHANGED) & (~pl.col("is_fresh") | is_first))
    # Of most devices the hour before has seen the first reading when it was computed.
    oldest = min((at for at in before.values() if at is not None), default=None)
    if None not in before.values() and oldest is not None:
        news = news.filter(~pl.col("is_fresh") | (pl.col("came_at") > oldest))
    news = news.unique(series, keep="first", maintain_order=True)
    if news.is_empty():
        return found
    wanted = pl.when("is_fresh").then(1).otherwise(READINGS_BESIDE - pl.col(_PLACE))
    news = news.with_columns(wanted=wanted)
    known = _last_known(lake, stream, news, start)
    for row in news.join(known, on=series, how="left", nulls_equal=True).iter_rows(named=True):
        times: list[datetime] = row["times"] or []
        if times:
            is_enough = len(times) >= row["wanted"]
            since = times[row["wanted"] - 1] if is_enough else start - LONGEST_CADENCE
        else:
            reach = (row["step"] or timedelta(minutes=1)) * _REACH
            since = max(row["timestamp"] - reach, start - HOUR)
        first = max(hour_of(since), hour_of(row["timestamp"] - LONGEST_CADENCE))
        for hour in hours_between(first, start) if first < start else ():
            computed_at = before.get(hour)
            if hour in before and (
                not row["is_fresh"] or computed_at is None or row["came_at"] > computed_at
            ):
                found.add(hour)
    return found


def _that_froze(
    rows: pl.DataFrame,
    stream: Stream,
    hour: datetime,
    fresh: Mapping[datetime, datetime],
    before: Mapping[datetime, datetime | None],
    settings: EnergySettings,
) -> set[datetime]:
    """The hour before these rows if a register had stood still since then when it rose."""
    if hour not in before:
        return set()
    jumps = jumps_after_standstill(rows, stream, settings).filter("is_oldest")
    rows = _with_arrival(rows, fresh).join(jumps, on=list(stream.series), nulls_equal=True)
    if (computed_at := before[hour]) is not None:
        came_later = ~pl.col("is_fresh") | (pl.col("came_at") > computed_at)
        rows = rows.filter(_CHANGED, came_later, pl.col("timestamp") <= pl.col("until"))
    return set() if rows.is_empty() else {hour}


def _that_awaited(
    connection: psycopg.Connection, stream: Stream, readings: pl.DataFrame, start: datetime
) -> set[datetime]:
    """Hours that lacked one of the readings when they were computed."""
    last = readings.group_by(stream.device).agg(pl.col("timestamp").max())
    asked = {
        "stream": stream.name,
        "devices": last[stream.device].to_list(),
        "times": last["timestamp"].to_list(),
        "since": start - LONGEST_CADENCE,
        "before": start,
    }
    rows = connection.execute(query("hours_awaiting"), asked)
    return {hour.astimezone(UTC) for (hour,) in rows}


def _that_cross(
    lake: Lake,
    connection: psycopg.Connection,
    stream: Stream,
    done: Sequence[Compaction],
    fresh: Mapping[datetime, datetime],
) -> set[datetime]:
    """Hours that divide energy by readings of further on, which have changed since."""
    asked = {"stream": stream.name, "start": done[0].hour, "end": done[-1].hour + HOUR}
    noted = connection.execute(query("hours_crossed"), asked).fetchall()
    if not noted:
        return set()
    time = pl.Datetime("us", "UTC")
    crossed = pl.DataFrame(
        noted,
        schema={
            "hour": time,
            stream.device: pl.String,
            "since": time,
            "until": time,
            "computed_at": time,
        },
        orient="row",
    )
    came_at, computed_at = pl.col("came_at"), pl.col("computed_at")
    timestamp = pl.col("timestamp")
    rows = pl.concat(_readings(lake, stream, done)).filter(_CHANGED)
    found = (
        _with_arrival(rows, fresh)
        .join(crossed, on=stream.device)
        .filter(timestamp >= pl.col("since"), timestamp < pl.col("until"))
        .filter(~pl.col("is_fresh") | (came_at > computed_at).fill_null(value=True))
    )
    return set(found["hour"].unique())


def _with_arrival(readings: pl.DataFrame, fresh: Mapping[datetime, datetime]) -> pl.DataFrame:
    """Add whether the hour of a reading is new, and when the reading came."""
    first_flush = (
        pl.col("timestamp")
        .dt.truncate("1h")
        .replace_strict(
            list(fresh), list(fresh.values()), default=None, return_dtype=pl.Datetime("us", "UTC")
        )
    )
    return readings.with_columns(
        is_fresh=first_flush.is_not_null(),
        came_at=pl.max_horizontal("received_at", first_flush),
    )


def _last_known(lake: Lake, stream: Stream, news: pl.DataFrame, start: datetime) -> pl.DataFrame:
    """By series the `times` of the last readings before `start`, the newest first."""
    series, parts = list(stream.series), []
    until, lacking = start, news.select(*series, "wanted")
    for reach in (HOUR, LONGEST_CADENCE):
        devices = lacking[stream.device].unique().sort().to_list()
        if devices:
            parts.append(_known(lake, stream, start - reach, until, devices))
        until = start - reach
        count = pl.concat(parts).group_by(series).len()
        lacking = lacking.join(count, on=series, how="left", nulls_equal=True)
        lacking = lacking.filter(pl.col("len").fill_null(0) < pl.col("wanted")).drop("len")
    newest = pl.col("timestamp").sort(descending=True).head(READINGS_BESIDE)
    return pl.concat(parts).group_by(series).agg(times=newest)


def _changed_after(
    lake: Lake,
    stream: Stream,
    done: Sequence[Compaction],
    after: Collection[datetime],
    settings: EnergySettings,
) -> set[datetime]:
    end, series = done[-1].hour + HOUR, list(stream.series)
    # From a time to another, as whole hours.
    ranges: set[tuple[datetime, datetime]] = set()
    if _changes_near(lake, stream, done[-1], end, settings):
        ranges.add((end, end))
    readings = pl.concat(
        rows.group_by(series, maintain_order=True).tail(READINGS_BESIDE)
        for rows in _readings(lake, stream, done)
    ).sort(*series, "timestamp")
    place = (pl.len() - 1 - pl.int_range(pl.len())).over(series)
    news = (
        readings.with_columns(place.alias(_PLACE))
        .filter(pl.col(_CHANGED), pl.col(_PLACE) < READINGS_BESIDE)
        .unique(series, keep="last", maintain_order=True)
        .with_columns(wanted=READINGS_BESIDE - pl.col(_PLACE))
    )
    since, last = end, max(after) + HOUR
    for reach in (HOUR, LONGEST_CADENCE, READINGS_BESIDE * LONGEST_CADENCE, _EVER):
        until = min(end + reach, last)
        if news.is_empty() or until <= since:
            break
        devices = news[stream.device].unique().sort().to_list()
        known = (
            _known(lake, stream, since, until, devices)
            .group_by(series)
            .agg(times=pl.col("timestamp").sort())
        )
        news = news.join(known, on=series, how="left", nulls_equal=True)
        lacking = []
        for row in news.iter_rows(named=True):
            times = (row["times"] or [])[: row["wanted"]]
            previous = row["timestamp"]
            for time in times:
                ranges.add((hour_of(max(previous, time - LONGEST_CADENCE)), hour_of(time)))
                ranges.add((hour_of(previous), hour_of(min(time, previous + LOOK_BACK))))
                previous = time
            row["timestamp"], row["wanted"] = previous, row["wanted"] - len(times)
            if row["wanted"]:  # silent since: what is expected of it follows from its last readings
                ranges.add((hour_of(previous), hour_of(min(until, previous + LOOK_BACK))))
            if row["wanted"] and (not times or reach <= LONGEST_CADENCE):
                lacking.append({name: row[name] for name in (*series, "timestamp", "wanted")})
        names = (*series, "timestamp", "wanted")
        news = pl.DataFrame(lacking, schema={name: news.schema[name] for name in names})
        since = until
    computed = sorted(hour for hour in after if hour >= end)
    return {
        hour
        for first, last in ranges
        for hour in computed[bisect_left(computed, first) : bisect_right(computed, last)]
    }


def _readings(lake: Lake, stream: Stream, done: Sequence[Compaction]) -> Iterator[pl.DataFrame]:
    """The readings with an energy of each hour, by series, and whether they are new."""
    series, is_new = list(stream.series), pl.lit(value=True)
    for compaction in done:
        rows = (
            scan_history(lake, stream, compaction.hour, compaction.hour + HOUR)
            .filter(pl.col(stream.energy).is_not_null())
            .select(*series, "timestamp", "received_at", stream.energy)
            .collect()
            .sort(*series, "timestamp")
        )
        if compaction.changes is None:
            yield rows.with_columns(is_new.alias(_CHANGED))
        else:
            keys = compaction.changes.unique().with_columns(is_new.alias(_CHANGED))
            joined = rows.join(
                keys, on=stream.key, how="left", maintain_order="left", nulls_equal=True
            )
            yield joined.with_columns(pl.col(_CHANGED).fill_null(value=False))


def _known(
    lake: Lake, stream: Stream, since: datetime, until: datetime, devices: Sequence[str]
) -> pl.DataFrame:
    return (
        scan_history(lake, stream, since, until, devices)
        .filter(pl.col(stream.energy).is_not_null())
        .select(*stream.series, "timestamp")
        .collect()
    )


def _changes_near(
    lake: Lake, stream: Stream, done: Compaction, end: datetime, settings: EnergySettings
) -> bool:
    """Whether a heartbeat of the largest gap before `end` has changed, of an energy or not."""
    near = pl.col("timestamp") >= end - timedelta(seconds=settings.largest_gap_seconds)
    if done.changes is not None:
        return not done.changes.filter(near).is_empty()
    rows = scan_history(lake, stream, done.hour, end).filter(near)
    return not rows.head(1).collect().is_empty()
