"""What must hold between two tables, as the rows that break it: an empty frame is a pass."""

from collections.abc import Sequence

import polars as pl

from lake.streams import Stream


def lost_heartbeats(
    raw: pl.LazyFrame, history: pl.LazyFrame, stream: Stream, *, raw_is_whole: bool = True
) -> pl.LazyFrame:
    """Identities of the raw table that the history does not account for.

    Both hold one hour. A row for each identity whose received copies are not the history's one
    row plus its `duplicates`: device, timestamp, received, accounted. Where raw rows were dropped
    (`raw_is_whole` is false) the history may account for more than is still there.
    """
    key = list(stream.key)
    received = raw.group_by(key).agg(received=pl.len().cast(pl.Int64))
    accounted = history.group_by(key).agg(accounted=(pl.col("duplicates") + 1).sum())
    return (
        received.join(accounted, on=key, how="left")
        .with_columns(pl.col("accounted").fill_null(0))
        .filter(
            pl.col("received") != pl.col("accounted")
            if raw_is_whole
            else pl.col("received") > pl.col("accounted")
        )
        .sort(key)
    )


def repeated_keys(history: pl.LazyFrame, stream: Stream) -> pl.LazyFrame:
    """Identities that the history holds more than once: device, timestamp, rows."""
    key = list(stream.key)
    return history.group_by(key).agg(rows=pl.len()).filter(pl.col("rows") > 1).sort(key)


def implausible_vehicles(vehicles: pl.LazyFrame) -> pl.LazyFrame:
    """Vehicle hours whose energies cannot both be right, the greatest energies first."""
    return (
        vehicles.filter(pl.col("status") == "implausible")
        .select(
            "hour_start",
            "vehicle_id",
            "energy_ac_kwh",
            "energy_dc_kwh",
            "efficiency_percent",
            "meter_ids",
        )
        .sort(pl.max_horizontal("energy_ac_kwh", "energy_dc_kwh"), descending=True, nulls_last=True)
    )


def differing_rows(lake: pl.DataFrame, mart: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Keys whose rows differ between the lake's table and the mart, or stand in one only.

    Both frames have the same columns; values are compared exactly, null equals null.
    """
    values = [name for name in lake.columns if name not in key]
    both = lake.with_columns(in_lake=True).join(
        mart.with_columns(in_mart=True), on=key, how="full", coalesce=True, suffix="_mart"
    )
    same = pl.all_horizontal(
        pl.col("in_lake").is_not_null(),
        pl.col("in_mart").is_not_null(),
        *(pl.col(name).eq_missing(pl.col(f"{name}_mart")) for name in values),
    )
    return both.filter(~same).select(key).sort(key)
