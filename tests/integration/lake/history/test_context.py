"""Windows of the history are read with as much of the time before them as their energies need."""

import random
from datetime import datetime, timedelta

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
    scan_context,
    scan_history,
)
from lake.energy.interval_energy import measured_energy
from lake.history.context import HistoryWindow, SequentialHistoryReader
from lake.history.deduplication import as_history
from lake.schema.history import encode_history, history_table
from tests.samples import HOUR_10, meter_rows

SETTINGS = EnergySettings(_env_file=None)
DEVICES = tuple(f"M{n}" for n in range(12))
DAYS = 4


@pytest.fixture
def silences(lake: Lake) -> Lake:
    """A history of registers and intervals with silences of minutes to days."""
    chance = random.Random(5)
    rows = []
    for device in DEVICES:
        at, kwh = HOUR_10 - timedelta(days=DAYS), 0.0
        cadence = chance.choice([0.05, 0.3, 2.0])
        while at < HOUR_10:
            kind = chance.choice(["register", "register", "interval"])
            kwh += chance.random()
            value = kwh if kind == "register" else chance.random()
            sent = None if chance.random() < 0.2 else round(value, 3)
            rows.append(
                {"meter_id": device, "timestamp": at, "kwh_consumed_ac": sent, "reading_type": kind}
            )
            silence = chance.choice(
                [0.05, cadence, cadence, 1.5, 6, chance.choice([8, 20, 47, 50])]
            )
            at += timedelta(hours=silence * (0.5 + chance.random() / 2))
    history = encode_history(as_history(pl.DataFrame(meter_rows(*rows)).lazy()).collect())
    spec = history_table(METER)
    start = hour_of(HOUR_10) - timedelta(days=DAYS)
    replace_hours(lake, spec, history.select(spec.names).sort(spec.key), start, HOUR_10)
    return lake


def measured(rows: pl.LazyFrame, start: datetime, end: datetime) -> pl.DataFrame:
    found = measured_energy(rows, METER, start, end, SETTINGS)
    return found.drop("number", "voltage", strict=False).collect()


def with_whole_look_back(lake: Lake, start: datetime, end: datetime) -> pl.LazyFrame:
    return pl.concat(
        [scan_context(lake, METER, start, SETTINGS), scan_history(lake, METER, start, end)]
    )


def test_hours_one_after_another_have_the_energies_of_the_whole_look_back(silences: Lake) -> None:
    history, first = (
        SequentialHistoryReader(silences, METER, SETTINGS),
        HOUR_10 - timedelta(hours=30),
    )
    # The last is no successor of the one before it.
    hours = [*(first + n * HOUR for n in range(14)), HOUR_10 - 2 * HOUR]
    for hour in hours:
        window = hour, hour + HOUR
        found = measured(history.read(*window).lazy(), *window)
        assert_frame_equal(found, measured(with_whole_look_back(silences, *window), *window))


def test_some_devices_of_a_day_have_the_energies_of_the_whole_look_back(silences: Lake) -> None:
    day = HOUR_10 - timedelta(hours=34), HOUR_10 - timedelta(hours=10)
    window = HistoryWindow(silences, METER, *day, SETTINGS)
    expected = measured(with_whole_look_back(silences, *day), *day)
    assert expected["energy_kwh"].count() > len(DEVICES)
    for some in (DEVICES[:5], DEVICES[3::3], DEVICES[:0]):
        ids = pl.Series("meter_id", some, pl.String)
        found = measured(window.scan_devices(ids), *day)
        assert_frame_equal(found, expected.filter(pl.col("meter_id").is_in(some)))
