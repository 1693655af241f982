"""Windows of the history are read with as much of the time before them as their energies need."""

import random
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lake import (
    HOUR,
    METER,
    EnergySettings,
    Lake,
    hour_of,
    replace_hours,
    scan_history,
)
from lake.history.context import SequentialHistoryReader
from lake.history.deduplication import as_history
from lake.history.nearest import READINGS_BESIDE
from lake.schema.history import encode_history, history_table
from tests.harness.raw_table import append_from
from tests.samples import HOUR_10, heartbeats

SETTINGS = EnergySettings(_env_file=None)
NOW = HOUR_10 - 6 * HOUR
"""From here on heartbeats are in raw alone."""


@pytest.fixture
def cadences(lake: Lake) -> Lake:
    """A history of minutes, quarters, days and silences up to NOW, and raw heartbeats after it."""
    chance = random.Random(7)
    cadence = {"FAST": 1, "GOING": 1, "QUARTERS": 15, "DAILY": 1440, "WEEKEND": 5, "BACK": 5}
    silence = {
        "GOING": (0, 20),
        "WEEKEND": (24, 62 + 24),
        "BACK": (20, 70 * 24),
    }  # in hours before HOUR_10
    rows: list[dict[str, Any]] = []
    for device, minutes in cadence.items():
        at = HOUR_10 - timedelta(days=75 if minutes > 1 else 1)
        while at < HOUR_10:
            ago = (HOUR_10 - at) / HOUR
            last, first = silence.get(device, (-1, -1))
            if not last <= ago <= first:
                sent = None if chance.random() < 0.3 else round(chance.random(), 3)
                kind = "register" if device in {"WEEKEND", "FAST"} and at.day % 2 else "interval"
                rows.append(
                    {
                        "meter_id": device,
                        "timestamp": at + timedelta(seconds=chance.randrange(50)),
                        "kwh_consumed_ac": sent,
                        "reading_type": kind,
                    }
                )
            at += timedelta(minutes=minutes)
    rows += [{"meter_id": "MUTE", "timestamp": HOUR_10 - n * HOUR} for n in range(1, 30)]
    spec = history_table(METER)
    stored = [row for row in rows if row["timestamp"] < NOW]
    received = pl.DataFrame(heartbeats(METER, stored)).lazy()
    history = encode_history(as_history(received).collect()).select(spec.names)
    replace_hours(lake, spec, history.sort(spec.key), hour_of(HOUR_10) - timedelta(days=80), NOW)
    chance.shuffle(rows)
    waiting = heartbeats(METER, [row for row in rows if row["timestamp"] >= NOW])
    append_from(lake, METER, waiting, "test", 1, 0)
    return lake


@pytest.mark.parametrize("until", [None, NOW])
def test_a_window_comes_with_the_readings_with_energy_on_either_side(
    cadences: Lake, until: datetime | None
) -> None:
    waiting = [NOW + n * HOUR for n in range(6)]
    raw = cadences.scan(cadences.open(METER.raw_table)).collect()
    every = pl.concat(
        [
            scan_history(cadences, METER, NOW - timedelta(days=80), NOW).collect(),
            as_history(raw.drop("date", "hour").lazy()).collect(),
        ],
        how="diagonal_relaxed",
    ).sort(METER.key)
    known = every.filter(pl.col("kwh_consumed_ac").is_not_null())
    series = ["meter_id", "reading_type"]
    reader = SequentialHistoryReader(cadences, METER, SETTINGS, until, waiting=waiting)
    hours = [NOW - n * HOUR for n in (80, 79, 22, 21, 20, 19, 6, 3, 2, 1)]
    for hour in hours:
        start, end = hour, hour + HOUR
        found = reader.read(start, end, ["BACK", "DAILY"])
        timestamp = pl.col("timestamp")
        within = found.filter(timestamp >= start, timestamp < end)
        assert_frame_equal(within, every.filter(timestamp >= start, timestamp < end))
        is_known = pl.col("kwh_consumed_ac").is_not_null()
        before, after = found.filter(timestamp < start), found.filter(timestamp >= end)
        for part in (before, within, after):
            assert part.equals(part.sort(METER.key))
        near = every.filter(~is_known, timestamp < start, timestamp >= start - timedelta(minutes=5))
        assert near.join(before, on=list(METER.key), how="anti", nulls_equal=True).is_empty()
        last = (
            known.filter(timestamp < start)
            .group_by(series)
            .tail(READINGS_BESIDE)
            .select(known.columns)
        )
        active = known.filter(timestamp >= start, timestamp < end + HOUR).select(series).unique()
        assert_frame_equal(
            before.filter(is_known).join(active, on=series, how="semi"),
            last.join(active, on=series, how="semi").sort(METER.key),
        )
        # Of others as far back as a device that reports once a day needs it; never anything else.
        lately = last.filter(
            timestamp >= start - timedelta(days=9), pl.col("meter_id") != "WEEKEND"
        )
        heard = every.filter(timestamp >= start - HOUR, timestamp < end)["meter_id"].unique()
        lately = lately.filter(pl.col("meter_id").is_in(["BACK", "DAILY", *heard]))
        lately = lately.join(active, on="meter_id", how="anti")
        key = [*METER.key]
        assert lately.join(before, on=key, how="anti", nulls_equal=True).is_empty()
        assert before.filter(is_known).join(last, on=key, how="anti", nulls_equal=True).is_empty()
        for device in known["meter_id"].unique():
            of_device = known.filter(pl.col("meter_id") == device)
            soon = of_device.filter(timestamp >= end, timestamp < end + HOUR)
            later = of_device.filter(timestamp >= end, timestamp < end + timedelta(days=1))
            was_known = (found["meter_id"] == device) & (found["timestamp"] < end)
            had_energy = found.filter(was_known).filter(is_known).height > 0
            expected = (later if had_energy else soon).group_by(series).head(READINGS_BESIDE)
            if soon.height >= READINGS_BESIDE and soon.select(series).n_unique() == 1:
                expected = soon.head(READINGS_BESIDE)
            assert (
                after.filter(pl.col("meter_id") == device)
                .sort(key)
                .equals(expected.sort(key).select(after.columns))
            ), (hour, device)
