"""Rules for tables: each returns the rows that break it, none if all is well."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import polars as pl

from lake import Stream
from lake.energy import exact_sum
from lake.schema import FACT_COLUMNS

# A vehicle hour is covered when this part of it is known on both sides.
COVERED = 0.9


def lost_heartbeats(
    raw: pl.LazyFrame, history: pl.LazyFrame, stream: Stream, *, raw_is_whole: bool = True
) -> pl.LazyFrame:
    """Identities of the raw table that are missing in the history or are not counted there.

    Both hold one hour. A row for each identity whose received copies are not the history's one
    row plus its `duplicates`: the key, received, accounted. Where raw rows were dropped
    (`raw_is_whole` is false) the history may account for more than is still there.
    """
    key = list(stream.key)
    received = raw.group_by(key).agg(received=pl.len().cast(pl.Int64))
    accounted = history.group_by(key).agg(accounted=(pl.col("duplicates") + 1).sum())
    count, known = pl.col("received"), pl.col("accounted")
    return (
        received.join(accounted, on=key, how="left", nulls_equal=True)
        .with_columns(known.fill_null(0))
        .filter(count != known if raw_is_whole else count > known)
        .sort(key)
    )


def repeated_keys(history: pl.LazyFrame, stream: Stream) -> pl.LazyFrame:
    """Identities that the history holds more than once: the key, rows."""
    key = list(stream.key)
    return history.group_by(key).agg(rows=pl.len()).filter(pl.col("rows") > 1).sort(key)


def unsorted_rows(rows: pl.LazyFrame, stream: Stream) -> pl.LazyFrame:
    """Rows that belong before the row above them in the same file: the key, file.

    `rows` have these columns and stand as they do in the files, one file after the other.
    """
    device, timestamp = pl.col(stream.device), pl.col("timestamp")
    same_file = pl.col("file") == pl.col("file").shift(1)
    same_device, same_time = device == device.shift(1), timestamp == timestamp.shift(1)
    steps_back = (device < device.shift(1)) | (same_device & (timestamp < timestamp.shift(1)))
    if stream.part is not None:
        part = pl.col(stream.part.name).fill_null("")
        steps_back |= same_device & same_time & (part < part.shift(1))
    return rows.filter(same_file & steps_back).select(
        *stream.key, pl.col("file").str.split("/").list.last()
    )


def implausible_vehicles(vehicles: pl.LazyFrame) -> pl.LazyFrame:
    """Vehicle hours whose two energies can't both be right, the greatest energies first."""
    return (
        vehicles.filter(pl.col("status") == "implausible")
        .select(*_EVIDENCE)
        .sort(pl.max_horizontal("energy_ac_kwh", "energy_dc_kwh"), descending=True, nulls_last=True)
    )


def gaining_vehicles(vehicles: pl.LazyFrame) -> pl.LazyFrame:
    """Vehicle hours with more matched DC than AC energy, whatever their status.

    The greatest gain first. What flowed while the other side was not known says nothing of a gain.
    """
    matched = ("matched_energy_ac_kwh", "matched_energy_dc_kwh")
    gain = pl.col(matched[1]) - pl.col(matched[0])
    return (
        vehicles.filter(pl.col("link_source").is_not_null(), gain > 0)
        .sort(gain, descending=True, maintain_order=True)
        .select("hour_start", "vehicle_id", *matched, "meter_ids", "status", "reason")
    )


def uneven_stretches(stretches: pl.DataFrame, vehicles: pl.DataFrame) -> pl.DataFrame:
    """Vehicle hours whose stretches and the time between them have other energies than the hour.

    To the microwatt-hour. Columns: hour_start, vehicle_id, and of both sides what the hour has and
    the sum of its parts.
    """
    key = ["hour_start", "vehicle_id"]
    names = ("energy_ac_kwh", "energy_dc_kwh")
    known = [pl.col(name).fill_null(0.0).round(9) for name in names]
    sums = [pl.col(name).fill_null(0.0).sum().round(9) for name in names]
    parts = stretches.lazy().group_by(key).agg(sums)
    differs = [pl.col(name) != pl.col(f"{name}_of_stretches") for name in names]
    return (
        parts.join(vehicles.lazy().select(*key, *known), on=key, how="left", suffix="_of_hour")
        .rename({name: f"{name}_of_stretches" for name in names})
        .rename({f"{name}_of_hour": name for name in names})
        .filter(pl.any_horizontal(*differs, pl.col(names[0]).is_null()))
        .sort(key)
        .collect()
    )


def uneven_sessions(sessions: pl.DataFrame, stretches: pl.DataFrame) -> pl.DataFrame:
    """Sessions whose energies are not those of the stretches and pauses in their time.

    To the microwatt-hour. Columns: hour_start (of their begin), vehicle_id, session_id, and of both
    sides what the session has and the sum of its parts.
    """
    names = ("energy_ac_kwh", "energy_dc_kwh")
    about = ["session_id", "vehicle_id", "begins"]
    parts = (
        sessions.lazy()
        .select(*about, "last_energy_at")
        .join(stretches.lazy(), on="vehicle_id", suffix="_of_part")
        .filter(
            pl.col("begins_of_part") >= pl.col("begins"),
            pl.col("ends") <= pl.col("last_energy_at"),
        )
        .group_by("session_id")
        .agg(pl.col(name).fill_null(0.0).sum().round(9).alias(f"{name}_of_parts") for name in names)
    )
    differs = [
        pl.col(name).fill_null(0.0).round(9).ne_missing(pl.col(f"{name}_of_parts"))
        for name in names
    ]
    return (
        sessions.lazy()
        .select(*about, *names)
        .join(parts, on="session_id", how="left")
        .filter(pl.any_horizontal(*differs))
        .sort("begins", "vehicle_id")
        .select(
            pl.col("begins").dt.truncate("1h").alias("hour_start"),
            pl.exclude("begins"),
        )
        .collect()
    )


def differing_sums(
    one: pl.LazyFrame, other: pl.LazyFrame, by: Sequence[str], names: Sequence[str]
) -> pl.DataFrame:
    """Groups in which two tables have other sums: `by`, and of each name both sums.

    To the microwatt-hour; what is not known, and a group that one of them lacks, is zero.
    """
    sums = [exact_sum(pl.col(name)).fill_null(0) for name in names]
    both = (
        one.group_by(*by)
        .agg(sums)
        .join(other.group_by(*by).agg(sums), on=by, how="full", coalesce=True, suffix="_of_other")
        .with_columns(pl.all().exclude(by).fill_null(0))
    )
    differs = [pl.col(name) != pl.col(f"{name}_of_other") for name in names]
    return both.filter(pl.any_horizontal(differs)).sort(by).collect()


def vehicles_unlike_chargers(vehicles: pl.LazyFrame, chargers: pl.LazyFrame) -> pl.DataFrame:
    """Hours in which vehicles have another AC energy than chargers gave while linked."""
    linked = pl.col("energy_ac_kwh") - pl.col("unlinked_energy_ac_kwh")
    given = chargers.select("hour_start", energy_ac_kwh=linked)
    return differing_sums(vehicles, given, ["hour_start"], ["energy_ac_kwh"])


def chargers_unlike_fleet(chargers: pl.LazyFrame, fleet: pl.LazyFrame) -> pl.DataFrame:
    """Hours in which chargers gave another energy than the fleet and nobody have together."""
    taken = pl.col("energy_ac_kwh") + pl.col("unlinked_energy_ac_kwh")
    of_fleet = fleet.select("hour_start", energy_ac_kwh=taken)
    return differing_sums(chargers, of_fleet, ["hour_start"], ["energy_ac_kwh"])


def fleet_unlike_vehicles(
    fleet: pl.LazyFrame, vehicles: pl.LazyFrame, time_column: str
) -> pl.DataFrame:
    """Hours or days in which the fleet has other energies, or vehicles, than the rows of these."""
    is_linked = pl.col("status") != "unmapped"
    of_vehicles = vehicles.select(
        time_column,
        *(pl.when(is_linked).then(f"energy_{side}_kwh") for side in ("ac", "dc")),
        vehicles=pl.lit(1),
    )
    names = ["energy_ac_kwh", "energy_dc_kwh", "vehicles"]
    return differing_sums(fleet, of_vehicles, [time_column], names)


def miscounted_heartbeats(
    completeness: pl.LazyFrame, vehicles: pl.LazyFrame, chargers: pl.LazyFrame
) -> pl.DataFrame:
    """Hours and streams whose received heartbeats are not the data points of their devices."""
    points = pl.concat(
        rows.select(
            "hour_start", stream=pl.lit(stream), heartbeats_received=f"data_points_{stream}"
        )
        for stream, rows in (("meter", chargers), ("vehicle", vehicles))
    )
    return differing_sums(completeness, points, ["hour_start", "stream"], ["heartbeats_received"])


def unheard_voltages(grid: pl.LazyFrame, chargers: pl.LazyFrame) -> pl.DataFrame:
    """Meter hours with more voltages than heartbeats, or more time out of limits than measured."""
    key = ["hour_start", "meter_id"]
    points = chargers.select(*key, "data_points_meter")
    too_long = pl.col("minutes_below") + pl.col("minutes_above") > pl.col("minutes_measured") + 1e-6
    return (
        grid.join(points, on=key, how="left")
        .filter(too_long | (pl.col("readings") > pl.col("data_points_meter").fill_null(0)))
        .select(*key, "readings", "data_points_meter", "minutes_measured")
        .sort(key)
        .collect()
    )


def days_unlike_hours(days: pl.LazyFrame, hours: pl.LazyFrame, device: str) -> pl.DataFrame:
    """Devices of which a day is not the sum of its hours, in what adds up.

    Columns: date, the device, and of each fact both sums.
    """
    has = days.collect_schema().names()
    of_sums = (column.name for column in FACT_COLUMNS if not column.name.startswith(_NO_SUM))
    names = [*_ADD_UP, *of_sums, *(name for name in ("unlinked_energy_ac_kwh",) if name in has)]
    of_hours = hours.with_columns(date=pl.col("hour_start").dt.date(), hours=pl.lit(1))
    return differing_sums(days, of_hours, ["date", device], [*names, "hours"])


def contested_hours(
    contested: Iterable[tuple[datetime, pl.DataFrame]], at_least_seconds: float
) -> pl.DataFrame:
    """Meters that several vehicles named at a time, in hours with what `contested_meters` says.

    Columns hour_start, meter_id, vehicle_ids and seconds, the longest first. Not those of a moment:
    one vehicle leaves and the next arrives between two heartbeats.
    """
    found = [
        pl.DataFrame({"hour_start": [hour]}, schema={"hour_start": pl.Datetime("us", "UTC")}).join(
            meters, how="cross"
        )
        for hour, meters in contested
        if meters.height
    ]
    if not found:
        return pl.DataFrame(schema={"hour_start": pl.Datetime("us", "UTC")})
    return (
        pl.concat(found)
        .filter(pl.col("seconds") > at_least_seconds)
        .sort("seconds", "hour_start", "meter_id", descending=[True, False, False])
    )


def uncovered_vehicles(vehicles: pl.LazyFrame, limit_percent: float) -> pl.LazyFrame:
    """Linked vehicles that are known for too little of an hour, where they are too many.

    A row for each vehicle under COVERED on either side, of the hours in which these are more than
    `limit_percent` of the linked vehicles; the least covered first.
    """
    linked = vehicles.filter(pl.col("link_source").is_not_null())
    least = pl.min_horizontal("coverage_ac", "coverage_dc")
    share = (least < COVERED).mean().over("hour_start") * 100
    return (
        linked.with_columns(percent_of_vehicles=share)
        .filter(least < COVERED, pl.col("percent_of_vehicles") > limit_percent)
        .sort("hour_start", least, "vehicle_id")
        .select(
            "hour_start",
            "vehicle_id",
            "coverage_ac",
            "coverage_dc",
            "longest_gap_seconds",
            "meter_ids",
            "reason",
            "percent_of_vehicles",
        )
    )


def differing_rows(lake: pl.DataFrame, mart: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Keys whose rows differ between the lake's table and the mart, or stand in one only.

    Both frames have the same columns; values are compared exactly, null equals null.
    """
    values = [name for name in lake.columns if name not in key]
    both = lake.with_columns(in_lake=True).join(
        mart.with_columns(in_mart=True),
        on=key,
        how="full",
        coalesce=True,
        suffix="_mart",
        nulls_equal=True,
    )
    same = pl.all_horizontal(
        pl.col("in_lake").is_not_null(),
        pl.col("in_mart").is_not_null(),
        *(pl.col(name).eq_missing(pl.col(f"{name}_mart")) for name in values),
    )
    return both.filter(~same).select(key).sort(key)


def miscounted_hours(
    ledger: Mapping[datetime, int], log: Mapping[datetime, int], *, dropped: Sequence[datetime] = ()
) -> pl.DataFrame:
    """Hours of which the ledger counts other raw rows than the Delta log: hour, ledger, delta_log.

    The log may hold fewer of `dropped` hours, whose raw rows went after their retention.
    """
    gone = set(dropped)
    return pl.DataFrame(
        [
            (hour, known, found)
            for hour in sorted({*ledger, *log})
            if (known := ledger.get(hour, 0)) != (found := log.get(hour, 0))
            and not (hour in gone and found < known)
        ],
        schema={"hour": pl.Datetime("us", "UTC"), "ledger": pl.Int64, "delta_log": pl.Int64},
        orient="row",
    )


# Of what tables of hours and days have, what is the sum over hours; of facts all but these.
_ADD_UP = ("energy_ac_kwh", "energy_dc_kwh", "data_points_meter", "data_points_vehicle")
_NO_SUM = ("first_", "last_", "inner_gap_")
_EVIDENCE = (
    "hour_start",
    "vehicle_id",
    "energy_ac_kwh",
    "energy_dc_kwh",
    "efficiency_percent",
    "meter_ids",
    "reason",
)


def uneven_losses(losses: pl.DataFrame) -> pl.DataFrame:
    """Sessions whose loss is not the expected one and the one beyond it, to a milliwatt-hour."""
    expected = pl.col("matched_energy_ac_kwh") * (1 - pl.col("expected_efficiency_percent") / 100)
    parts = expected + pl.col("excess_loss_kwh")
    return (
        losses.with_columns(parts_kwh=parts)
        .filter((pl.col("parts_kwh") - pl.col("loss_kwh")).abs() > 1e-6)
        .select("session_id", "vehicle_id", "ends", "loss_kwh", "parts_kwh")
    )


def unfounded_visits(
    visits: pl.DataFrame, anomalies: pl.DataFrame, at: datetime, longest: timedelta
) -> pl.DataFrame:
    """Visits of a day, open or waiting, that neither it nor the time before gives a reason for.

    Of the day an anomaly of the device is one; what is open may have been seen up to `longest`
    before `at`, the end of the day.
    """
    is_recent = (pl.col("state") == "open") & (pl.col("last_seen") > at - longest)
    return (
        visits.filter(pl.col("state") != "closed")
        .join(anomalies, on=["date", "device_kind", "device_id"], how="anti")
        .filter(~is_recent)
        .select("date", "device_kind", "device_id", "state", "last_seen")
    )
