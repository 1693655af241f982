"""Times of receipt order all rows; live state takes the newest of each device."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ingestion_api.receipt_clock import ReceiptClock
from ingestion_api.transaction import newest_of_each_device
from lake import METER

START = datetime(2026, 3, 1, tzinfo=UTC)


def heartbeats(rows: Iterable[tuple[str, int]]) -> pa.Table:
    """Meter heartbeats of (id, seconds after START), each with its position as voltage."""
    values: list[dict[str, Any]] = [
        {
            "meter_id": device,
            "timestamp": START + timedelta(seconds=second),
            "kwh_consumed_ac": None,
            "voltage": float(position),
            "reading_type": "interval",
        }
        for position, (device, second) in enumerate(rows)
    ]
    columns = [field for field in METER.arrow_schema if field.name != "received_at"]
    return pa.Table.from_pylist(values, pa.schema(columns))


_rows = st.lists(st.tuples(st.sampled_from("ABCD"), st.integers(0, 3)), min_size=1, max_size=30)


@given(_rows)
def test_live_state_gets_the_newest_by_event_time_and_of_equal_ones_the_last(
    rows: list[tuple[str, int]],
) -> None:
    expected: dict[str, tuple[int, int]] = {}
    for position, (device, second) in enumerate(rows):
        expected[device] = max(expected.get(device, (-1, -1)), (second, position))
    newest = newest_of_each_device(METER, heartbeats(rows))
    assert newest["meter_id"].to_pylist() == sorted(expected)
    assert newest["voltage"].to_pylist() == [expected[device][1] for device in sorted(expected)]


@given(st.lists(_rows, min_size=1, max_size=4), st.lists(st.integers(0, 10**13), min_size=1))
def test_a_repeat_is_received_later_however_the_machines_clock_jumps(
    requests: list[list[tuple[str, int]]], ticks: list[int]
) -> None:
    jumps = iter(ticks * len(requests))
    clock = ReceiptClock(lambda: next(jumps))
    last: dict[tuple[str, int], datetime] = {}
    newest_before = datetime.min.replace(tzinfo=UTC)
    for rows in requests:
        received: list[Any] = clock.stamp(METER, heartbeats(rows))["received_at"].to_pylist()
        assert min(received) > newest_before
        newest_before = max(received)
        for identity, moment in zip(rows, received, strict=True):
            assert identity not in last or moment > last[identity]
            last[identity] = moment


def test_heartbeats_of_different_devices_in_one_request_share_their_time_of_receipt() -> None:
    stamped = ReceiptClock().stamp(METER, heartbeats([("A", 0), ("B", 0), ("C", 0)]))
    assert stamped.schema == METER.arrow_schema
    assert len(set(stamped["received_at"].to_pylist())) == 1
