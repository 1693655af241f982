"""What an hour lacks when it is computed: the reading that crosses its end, of who may send one."""

from collections.abc import Sequence
from datetime import timedelta

import polars as pl
import pytest

from lake import HOUR, METER
from pipelines.compute.awaited import awaited_readings
from tests.samples import HOUR_10, meter_rows

END = HOUR_10 + HOUR


@pytest.mark.parametrize(
    ("minutes", "is_awaited"),
    [
        ([59], True),
        ([1], True),
        ([-59], True),  # heard in the hour before
        ([-61], False),
        ([59, 60], False),  # its first reading after the hour is there
        ([59, 80], False),
        ([-400, -250, -100], True),  # each 150 minutes: one that covers all of the hour may come
        ([-700, -550, -400], False),  # it should have come
        ([-2880, -1440, 0], True),  # once a day
        ([-2880 - 120, -1440 - 120, -120], True),
        ([-7200, -3600], False),  # none comes within a day
        ([], False),
    ],
)
def test_an_hour_awaits_the_next_reading_of_who_may_send_one_that_reaches_into_it(
    minutes: Sequence[int], is_awaited: bool
) -> None:
    rows = [
        {"timestamp": HOUR_10 + timedelta(minutes=minute), "kwh_consumed_ac": 0.1}
        for minute in minutes
    ]
    # Heartbeats without an energy are awaited by nobody, and are not what is awaited.
    rows += [{"timestamp": HOUR_10 + timedelta(minutes=minute)} for minute in (59.5, 61)]
    readings = pl.DataFrame(meter_rows(*rows)).with_columns(duplicates=0)
    found = awaited_readings(readings, METER, HOUR_10)
    assert found["device_id"].to_list() == ["METER001"] * is_awaited
    assert all(END - timedelta(microseconds=1) == until for until in found["heard_until"])


def test_each_series_of_a_device_is_awaited_for_itself() -> None:
    kinds = [("register", 50), ("interval", 55), ("interval", 65)]
    rows = [
        {
            "timestamp": HOUR_10 + timedelta(minutes=minute),
            "kwh_consumed_ac": 1.0,
            "reading_type": kind,
        }
        for kind, minute in kinds
    ]
    readings = pl.DataFrame(meter_rows(*rows)).with_columns(duplicates=0)
    assert awaited_readings(readings, METER, HOUR_10).height == 1
