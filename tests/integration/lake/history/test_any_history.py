"""The history is what a plain recomputation from all heartbeats gives, however they came."""

import tempfile
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from lake import HOUR, METER, Lake, compact_hour, read_delivered_horizon, scan_history
from lake.schema.history import history_table
from lake.upkeep.archive import archive_day
from tests.harness.raw_table import append_from
from tests.samples import heartbeats

Row = Mapping[str, Any]

FIRST = datetime(2024, 2, 28, 22, tzinfo=UTC)
HOURS = [FIRST + n * HOUR for n in range(4)]  # around midnight
MOMENTS = [
    hour + into
    for hour in HOURS
    for into in (timedelta(0), timedelta(minutes=7), HOUR - timedelta(microseconds=1))
]

sent = st.fixed_dictionaries(
    {
        "meter_id": st.sampled_from(["METER1", "METER2", "METER10", "zähler|3"]),
        "timestamp": st.sampled_from(MOMENTS),
        "kwh_consumed_ac": st.sampled_from([None, 0.0, 0.1, 0.25]),
        "voltage": st.sampled_from([None, 230.0]),
        "reading_type": st.sampled_from(["interval", "register"]),
        # From a device clock that is ahead to more than a year late.
        "received_at": st.integers(-300, 400 * 86_400).map(
            lambda seconds: FIRST + timedelta(seconds=seconds)
        ),
    }
)
flushes = st.lists(sent, min_size=1, max_size=12)
compactions = st.sampled_from(HOURS)
archives = st.sampled_from([FIRST.date(), HOURS[-1].date()])


@settings(max_examples=12)
@given(st.lists(st.one_of(flushes, compactions, archives), max_size=12))
def test_any_order_of_flushes_compactions_and_archives_gives_the_plain_history(
    steps: list[list[Row] | datetime | date],
) -> None:
    received: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        lake.create_tables()
        for step in [*steps, *HOURS]:
            if isinstance(step, list):
                flush(lake, step)
                received += step
            elif isinstance(step, datetime):
                compact_hour(lake, METER, step)
            else:
                archive_day(lake, history_table(METER), step)
        found = scan_history(lake, METER, FIRST, HOURS[-1] + HOUR).collect()
        assert found.sort(METER.key).to_dicts() == plain_history(received)
        for file in lake.open(METER.history_table).file_uris():
            rows = pl.read_parquet(file).select(METER.key)
            assert rows.equals(rows.sort(METER.key))
        assert not any(compact_hour(lake, METER, hour).changed for hour in HOURS)


@settings(max_examples=5)
@given(st.lists(sent, min_size=1, max_size=30), st.data())
def test_the_order_and_the_split_of_heartbeats_do_not_matter(
    rows: list[Row], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows)))
    for batches in ([rows], [shuffled[:cut], shuffled[cut:]]):
        with tempfile.TemporaryDirectory() as folder:
            lake = Lake(folder)
            lake.create_tables()
            for batch in batches:
                flush(lake, batch)
                for hour in HOURS:
                    compact_hour(lake, METER, hour)
            found = scan_history(lake, METER, FIRST, HOURS[-1] + HOUR).collect()
        assert found.sort(METER.key).to_dicts() == plain_history(rows)


def flush(lake: Lake, rows: list[Row]) -> None:
    if not rows:
        return
    before = read_delivered_horizon(lake, METER, "test").horizon
    append_from(lake, METER, heartbeats(METER, rows), "test", before + 1, before)


def plain_history(received: list[Row]) -> list[dict[str, Any]]:
    """Each identity once, as last received with its energy, and what the other copies were."""
    copies: dict[tuple[str, datetime], list[Row]] = defaultdict(list)
    for row in received:
        copies[row["meter_id"], row["timestamp"]].append(row)
    by_bytes = sorted(copies.items(), key=lambda item: (item[0][0].encode(), item[0][1]))
    return [_counted(sorted(of_key, key=_order_of_receipt)) for _, of_key in by_bytes]


def _counted(copies: list[Row]) -> dict[str, Any]:
    known = [row for row in copies if row["kwh_consumed_ac"] is not None] or copies
    energies = [row["kwh_consumed_ac"] for row in known]
    others = [energy for energy in energies if energy != energies[-1]]
    return {
        **dict.fromkeys(column.name for column in METER.columns),
        **known[-1],
        "duplicates": len(copies) - 1,
        "conflicts": len(others),
        "conflicting_energy": others[-1] if others else None,
    }


def _order_of_receipt(row: Row) -> tuple[Any, ...]:
    """Copies that were received in the same microsecond are ordered by their values."""
    values = (row["kwh_consumed_ac"], row["voltage"])
    return (row["received_at"], *((v is not None, v or 0) for v in values), row["reading_type"])
