"""Whatever JSON comes in, every record is either taken or refused, and nothing breaks."""

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingestion_api.heartbeats.batch import (
    HeartbeatBatch,
    invalid_mask,
    parse_timestamps,
    rule_violations,
)
from ingestion_api.heartbeats.contract import TIME_PATTERN
from lake import METER, VEHICLE
from tests.unit.ingestion_api.heartbeats.test_strict_decoder import LIMITS
from tests.unit.intakes import read_batch, read_telemetry

_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_ids = st.sampled_from(["M1", "V1", "", ".", "x" * 65, "ä", "\x00", "\ud800"]) | st.text(
    max_size=70
)
_times = st.sampled_from(
    [
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:00:00",
        "2026-02-30T12:00:00.1234567Z",
        "9999-12-31T23:59:59-14:00",
    ]
) | st.datetimes().map(lambda moment: moment.isoformat() + "Z")
_numbers = st.floats() | st.integers() | st.just(10**400) | st.sampled_from([0, 0.5, 99.5])
_fields = {
    "meterId": _ids,
    "vehicleId": _ids,
    "timestamp": _times,
    "kwhConsumedAc": _numbers,
    "kwhDeliveredDc": _numbers,
    "voltage": _numbers,
    "soc": _numbers,
    "batteryTemp": _numbers,
    "readingType": st.sampled_from(["interval", "register", "x"]),
    "type": st.sampled_from(["meter", "vehicle", "x", 1]),
}
_heartbeats = st.fixed_dictionaries(
    {}, optional={name: values | _anything for name, values in _fields.items()}
)
_batches = st.lists(_heartbeats | _anything, min_size=1, max_size=20)


@given(_batches)
def test_accepted_and_rejected_are_all_records(records: list[Any]) -> None:
    body = json.dumps(records).encode()
    for intake in (
        read_batch(body, "meter", LIMITS),
        read_batch(body, "vehicle", LIMITS),
        read_telemetry(body, LIMITS),
    ):
        assert intake.accepted + intake.rejected == len(records)
        assert all(0 <= refusal.index < len(records) for refusal in intake.refusals)


@given(_batches)
def test_a_record_is_judged_the_same_alone_and_among_others(records: list[Any]) -> None:
    for stream in (METER, VEHICLE):
        together = read_batch(json.dumps(records).encode(), stream.name, LIMITS)
        refused = {refusal.index for refusal in together.refusals}
        kept: list[dict[str, Any]] = []
        for index, record in enumerate(records):
            alone = read_batch(json.dumps([record]).encode(), stream.name, LIMITS)
            assert alone.rejected == (index in refused)
            if not alone.rejected:
                kept += alone.rows[stream.name].to_arrow().to_pylist()
        rows = together.rows.get(stream.name)
        assert kept == (rows.to_arrow().to_pylist() if rows is not None else [])


@given(
    st.lists(
        st.tuples(
            st.sampled_from([LIMITS.newest, LIMITS.newest + 1, 0, 946_684_800_000_000]),
            st.sampled_from([float("nan"), 0.0, 1000.0, 1000.1]),
            st.sampled_from([float("nan"), 230.0]),
            st.sampled_from(["interval", "register"]),
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([None, "M", "X"]),
)
def test_a_row_breaks_whatever_any_rule_says_it_breaks(
    rows: list[tuple[int, float, float, str]], prefix: str | None
) -> None:
    times, energies, voltages, kinds = zip(*rows, strict=True)
    heartbeats = HeartbeatBatch(
        METER,
        {"meter_id": ["M"] * len(rows), "reading_type": list(kinds)},
        np.array(times, np.int64),
        {"kwh_consumed_ac": np.array(energies), "voltage": np.array(voltages)},
    )
    limits = replace(LIMITS, device_prefix=prefix)
    masks = [wrong for wrong, *_ in rule_violations(heartbeats, limits)]
    assert invalid_mask(heartbeats, limits).tolist() == np.logical_or.reduce(masks).tolist()


@given(st.lists(_times.filter(re.compile(TIME_PATTERN).match), min_size=1, max_size=3))
def test_a_time_is_read_the_same_alone_and_among_many(texts: list[str]) -> None:
    padding = [f"2026-03-01T12:00:{second:02}Z" for second in range(60)]
    assert (
        parse_timestamps(texts).tolist() == parse_timestamps(texts + padding)[: len(texts)].tolist()
    )
