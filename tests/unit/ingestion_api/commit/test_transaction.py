"""Times of receipt order all rows; live state takes the newest of each device."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ingestion_api.commit.receipt_clock import ReceiptClock
from ingestion_api.commit.transaction import newest_of_each_device
from ingestion_api.heartbeats.batch import HeartbeatBatch
from ingestion_api.heartbeats.fast_decoder import MeterRecord
from lake import METER

TOLERANCE_SECONDS = 300
START = datetime(2026, 3, 1, tzinfo=UTC)


def heartbeats(rows: Iterable[tuple[str, int]]) -> HeartbeatBatch:
    """Meter heartbeats of (id, seconds after START), each with its position as voltage."""
    return HeartbeatBatch.from_records(
        METER,
        [
            MeterRecord(
                meter_id=device,
                timestamp=(START + timedelta(seconds=second)).isoformat(),
                voltage=float(position),
            )
            for position, (device, second) in enumerate(rows)
        ],
    )


_rows = st.lists(st.tuples(st.sampled_from("ABCD"), st.integers(0, 3)), min_size=1, max_size=30)


@given(_rows)
def test_live_state_gets_the_newest_by_event_time_and_of_equal_ones_the_last(
    rows: list[tuple[str, int]],
) -> None:
    expected: dict[str, tuple[int, int]] = {}
    for position, (device, second) in enumerate(rows):
        expected[device] = max(expected.get(device, (-1, -1)), (second, position))
    newest = newest_of_each_device(heartbeats(rows))
    assert newest.devices == sorted(expected)
    assert newest.numbers["voltage"].tolist() == [
        expected[device][1] for device in sorted(expected)
    ]


@given(
    st.lists(_rows, min_size=1, max_size=4),
    # a second less, for repeats take microseconds of the tolerance
    st.lists(st.integers(0, (TOLERANCE_SECONDS - 1) * 10**9), min_size=1),
)
def test_a_repeat_is_received_later_when_the_machines_clock_is_corrected(
    requests: list[list[tuple[str, int]]], ticks: list[int]
) -> None:
    jumps = iter(ticks * len(requests))
    clock = ReceiptClock(TOLERANCE_SECONDS, lambda: next(jumps))
    last: dict[tuple[str, int], int] = {}
    newest_before = -1
    for rows in requests:
        stamped = clock.stamp(heartbeats(rows)).received
        assert stamped is not None
        received = stamped.tolist()
        assert min(received) > newest_before
        newest_before = max(received)
        for identity, moment in zip(rows, received, strict=True):
            assert identity not in last or moment > last[identity]
            last[identity] = moment


def test_a_clock_that_was_far_ahead_is_followed_back() -> None:
    day = 86_400 * 10**9
    times = iter([3 * day, 2 * day, 2 * day])
    clock = ReceiptClock(TOLERANCE_SECONDS, lambda: next(times))
    stamped = [clock.stamp(heartbeats([("A", 0)])).received for _ in range(3)]
    assert [int(one[0]) * 1000 for one in stamped if one is not None] == [
        3 * day,
        2 * day,
        2 * day + 1000,
    ]


def test_heartbeats_of_different_devices_in_one_request_share_their_time_of_receipt() -> None:
    stamped = (
        ReceiptClock(TOLERANCE_SECONDS).stamp(heartbeats([("A", 0), ("B", 0), ("C", 0)])).to_arrow()
    )
    assert METER.with_all_columns(stamped).schema == METER.arrow_schema
    assert len(set(stamped["received_at"].to_pylist())) == 1
