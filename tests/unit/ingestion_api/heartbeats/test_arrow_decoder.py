"""Arrow IPC streams: judged as JSON and NDJSON are, and no broken one breaks the reader."""

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_api.heartbeats.arrow_decoder import decode_arrow_fast, decode_arrow_strict
from ingestion_api.heartbeats.batch import Limits
from ingestion_api.heartbeats.strict_decoder import (
    BatchTooLarge,
    DecodedBatch,
    UnreadableBody,
    WrongShape,
    decode_batch_fast,
    decode_batch_strict,
    decode_lines_fast,
    decode_lines_strict,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LIMITS = Limits.from_clock(NOW, tolerance_seconds=300, records=100)
TIME = pa.timestamp("us", "UTC")

Unit = Literal["s", "ms", "us", "ns"]
Look = Callable[[bytes, str, Limits], DecodedBatch | None]


def read(quick: Look, close: Look, body: bytes, kind: str = "meter") -> DecodedBatch:
    """The decoded body; what is decoded fast, is decoded strictly alike."""
    looked = close(body, kind, LIMITS)
    assert looked is not None
    taken = quick(body, kind, LIMITS)
    if taken is not None:
        assert not looked.refusals
        assert taken.warnings == looked.warnings
        assert stored(taken) == stored(looked)
    return looked


def read_arrow(body: bytes, kind: str = "meter") -> DecodedBatch:
    return read(decode_arrow_fast, decode_arrow_strict, body, kind)


def stored(intake: DecodedBatch) -> dict[str, list[dict[str, Any]]]:
    """The rows of each stream."""
    return {name: rows.to_arrow().to_pylist() for name, rows in intake.rows.items()}


def left_out(intake: DecodedBatch) -> list[tuple[int, str]]:
    """Index and field of the values that were left out."""
    return [(one.index, one.field) for one in intake.warnings if one.code != "unknown_field"]


def stream(*batches: pa.RecordBatch | pa.Table, **options: Any) -> bytes:
    """A stream of batches, all of the same schema."""
    sink = pa.BufferOutputStream()
    written = pa.ipc.IpcWriteOptions(**options)
    with pa.ipc.new_stream(sink, batches[0].schema, options=written) as writer:
        for batch in batches:
            writer.write(batch)
    return sink.getvalue().to_pybytes()


def columns(rows: int = 2, **changed: Any) -> dict[str, Any]:
    """Good meter heartbeats, with some columns changed, or left out where None."""
    good = {
        "meterId": pa.array([f"M{row}" for row in range(rows)]),
        "timestamp": pa.array([NOW] * rows, TIME),
        "voltage": pa.array([230.0] * rows),
    }
    return {name: values for name, values in (good | changed).items() if values is not None}


def meters(rows: int = 2, **changed: Any) -> bytes:
    """A stream of meter heartbeats."""
    return stream(pa.table(columns(rows, **changed)))


# -- the same records in every format --------------------------------------------------------------

_ids = st.sampled_from(
    ["M1", "V1", "", "..", "x" * 64, "x" * 65, "x" * 300, " M", "a b", "ä", "\0"]
)
_times = st.just(NOW) | st.datetimes(timezones=st.just(UTC))
_numbers = st.sampled_from([0.0, 50.0, -0.1, 100.5, 1e6, 2e9]) | st.floats()
_types: dict[str, tuple[st.SearchStrategy[Any], pa.DataType]] = {
    "meterId": (_ids, pa.string()),
    "vehicleId": (_ids, pa.large_string()),
    "timestamp": (_times, TIME),
    "kwhConsumedAc": (_numbers, pa.float64()),
    "voltage": (_numbers, pa.float64()),
    "soc": (_numbers, pa.float64()),
    "kwhDeliveredDc": (_numbers, pa.float64()),
    "batteryTemp": (_numbers, pa.float64()),
    "readingType": (st.sampled_from(["interval", "register", "", "x"]), pa.string()),
    "type": (st.sampled_from(["meter", "vehicle", "", "x"]), pa.string()),
    "phase": (_ids, pa.string()),
    "intervalSeconds": (_numbers, pa.float64()),
    "note": (st.text(st.characters(codec="utf-8"), max_size=3), pa.string()),
}
_given = [name for name in _types if name != "timestamp"]


@given(st.data(), st.sampled_from(["meter", "vehicle", "telemetry"]))
def test_json_ndjson_and_arrow_take_and_refuse_the_same_records(
    data: st.DataObject, kind: str
) -> None:
    names = ["timestamp", *data.draw(st.lists(st.sampled_from(_given), unique=True))]
    record = st.fixed_dictionaries({name: st.none() | _types[name][0] for name in names})
    records = data.draw(st.lists(record, min_size=1, max_size=6))
    as_json = [
        one | {"timestamp": one["timestamp"] and one["timestamp"].isoformat()} for one in records
    ]
    json_body = json.dumps(as_json).encode()
    lines = "\n".join(map(json.dumps, as_json)).encode()
    schema = pa.schema([(name, _types[name][1]) for name in names])
    arrow = stream(pa.Table.from_pylist(records, schema))

    expected = read(decode_batch_fast, decode_batch_strict, json_body, kind)
    for intake in (
        read(decode_lines_fast, decode_lines_strict, lines, kind),
        read_arrow(arrow, kind),
    ):
        assert stored(intake) == stored(expected)
        assert intake.refusals == expected.refusals
        assert left_out(intake) == left_out(expected)


# -- types -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "+02:00", "Europe/Berlin"])
def test_a_timestamp_may_have_any_unit_and_any_zone(unit: Unit, zone: str) -> None:
    times = pa.array([NOW, NOW], pa.timestamp(unit, zone))
    assert [row["timestamp"] for row in stored(read_arrow(meters(timestamp=times)))["meter"]] == [
        NOW,
        NOW,
    ]


def test_nanoseconds_are_cut_to_microseconds_as_in_json() -> None:
    nanos = int(NOW.timestamp()) * 10**9 + 123_456_999
    for voltage in (230.0, -1.0):  # decoded fast, and only strictly
        body = meters(
            timestamp=pa.array([nanos] * 2).view(pa.timestamp("ns", "UTC")),
            voltage=pa.array([230.0, voltage]),
        )
        row = stored(read_arrow(body))["meter"][0]
        assert row["timestamp"] == NOW.replace(microsecond=123_456)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("ticks", [2**63 - 1, -(2**63), 2**62, 2**64 // 10**6 + 1_772_366_400])
def test_a_time_beyond_all_years_is_refused_and_never_becomes_another_time(
    unit: Unit, ticks: int
) -> None:
    times = pa.array([ticks] * 2, pa.int64()).view(pa.timestamp(unit, "UTC"))
    intake = read_arrow(meters(timestamp=times))
    assert not intake.accepted
    assert {refusal.field for refusal in intake.refusals} == {"timestamp"}


@pytest.mark.parametrize("text", [pa.string(), pa.large_string()])
@pytest.mark.parametrize(
    "number",
    [pa.float16(), pa.float32(), pa.float64(), pa.int8(), pa.uint8(), pa.int64(), pa.uint64()],
)
def test_ids_may_be_any_string_and_measurements_any_float_or_integer(
    text: pa.DataType, number: pa.DataType
) -> None:
    body = meters(
        meterId=pa.array(["A", "B"], text), voltage=pa.array(np.array([100, 120]), number)
    )
    rows = stored(read_arrow(body))["meter"]
    assert [(row["meter_id"], row["voltage"]) for row in rows] == [("A", 100.0), ("B", 120.0)]


def test_an_integer_beyond_what_a_float_holds_exactly_is_out_of_range() -> None:
    intake = read_arrow(meters(voltage=pa.array([2**63 - 1, 2**53 + 1])))
    assert [refusal.code for refusal in intake.refusals] == ["out_of_range"] * 2


def test_optional_columns_may_be_missing_or_of_type_null() -> None:
    nothing = pa.nulls(2)
    body = meters(kwhConsumedAc=nothing, readingType=nothing, type=nothing, vehicleId=nothing)
    assert stored(read_arrow(body)) == stored(read_arrow(meters()))
    assert stored(read_arrow(body, "telemetry")) == stored(read_arrow(meters()))
    assert read_arrow(meters(meterId=nothing)).rejected == 2


def test_other_columns_are_ignored_whatever_their_type() -> None:
    others: dict[str, Any] = {
        "flag": pa.array([True, None]),
        "nested": pa.array([[{"a": [1]}], None]),
        "view": pa.array(["text longer than twelve", None], pa.string_view()),
        "runs": pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array([1.0])),
        "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int8())),
    }
    table = pa.table(columns(**others))
    table = table.append_column("flag", pa.array([1, 2]))  # twice the same name
    assert stored(read_arrow(stream(table))) == stored(read_arrow(meters()))


def test_several_batches_are_one_request_and_keep_their_order() -> None:
    batches = pa.table(columns(9)).to_batches(max_chunksize=2)
    rows = stored(read_arrow(stream(*batches)))["meter"]
    assert [row["meter_id"] for row in rows] == [f"M{row}" for row in range(9)]


@pytest.mark.parametrize("device", [".", "..", *("x" * n for n in (0, 65, 255, 256, 300, 100_000))])
def test_an_id_that_is_a_step_of_a_path_or_of_a_wrong_length_is_refused(device: str) -> None:
    intake = read_arrow(meters(meterId=pa.array([device, "M"])))
    assert [(one.index, one.field, one.code) for one in intake.refusals] == [
        (0, "meterId", "bad_id")
    ]
    body = stream(
        pa.table(
            {
                "vehicleId": ["V"],
                "timestamp": pa.array([NOW], TIME),
                "soc": [1],
                "meterId": [device],
            }
        )
    )
    intake = read_arrow(body, "vehicle")
    assert (intake.accepted, [one.field for one in intake.warnings]) == (1, ["meterId"])


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"timestamp": None}, "no column timestamp"),
        ({"timestamp": pa.array([1, 2])}, "must be a timestamp with a zone, not int64"),
        ({"timestamp": pa.array([NOW] * 2, pa.timestamp("us"))}, "not timestamp[us]"),
        ({"timestamp": pa.nulls(2)}, "not null"),
        ({"voltage": pa.array(["1", "2"])}, "the column voltage must be a number, not string"),
        ({"voltage": pa.array([True, False])}, "the column voltage must be a number, not bool"),
        ({"voltage": pa.array([1, 2], pa.decimal128(5))}, "not decimal128(5, 0)"),
        ({"meterId": pa.array([1.0, 2.0])}, "must be a string or a whole number, not double"),
        ({"meterId": pa.array([True, False])}, "must be a string or a whole number, not bool"),
        ({"meterId": pa.array([b"a", b"b"])}, "or a whole number, not binary"),
        ({"readingType": pa.array([1, 2])}, "the column readingType must be a string, not int64"),
        ({"meterId": pa.array(["a", "b"], pa.string_view())}, "not string_view"),
        ({"meterId": pa.array(["a", "b"]).dictionary_encode()}, "dictionaries are not taken"),
        ({"other": pa.array(["a", "b"]).dictionary_encode()}, "dictionaries are not taken"),
    ],
)
def test_a_wrong_type_is_told_with_its_column(changed: dict[str, Any], text: str) -> None:
    body = meters(**changed)
    for look in (decode_arrow_fast, decode_arrow_strict):
        with pytest.raises(WrongShape) as caught:
            look(body, "meter", LIMITS)
        assert text in str(caught.value)


def test_whole_numbers_are_ids_and_a_column_that_nobody_knows_is_told_once() -> None:
    body = meters(meterId=pa.array([871687120061, 2]), phase=pa.array([1, 2]), Voltage=[1.0, 2.0])
    intake = read_arrow(body)
    ids = [(row["meter_id"], row["phase"]) for row in stored(intake)["meter"]]
    assert ids == [("871687120061", "1"), ("2", "2")]
    assert [(one.index, one.field, one.reason) for one in intake.warnings] == [
        (0, "Voltage", "is not known; did you mean voltage?")
    ]
    with pytest.raises(WrongShape, match="did you mean voltage"):
        decode_arrow_fast(body, "meter", replace(LIMITS, refuse_unknown=True))


def test_the_start_of_an_interval_is_a_time_with_a_zone() -> None:
    starts = pa.array([NOW - timedelta(minutes=15), None], TIME)
    rows = stored(read_arrow(meters(intervalStart=starts)))["meter"]
    assert [row["interval_seconds"] for row in rows] == [900, None]


# -- bounds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_buffers_are_refused_before_they_are_unpacked(compression: str) -> None:
    body = stream(pa.table(columns(100)), compression=compression)
    with pytest.raises(WrongShape, match="Content-Encoding"):
        decode_arrow_fast(body, "meter", LIMITS)


def test_a_stream_without_rows_is_refused() -> None:
    empty = pa.table(columns()).slice(0, 0)
    for body in (stream(empty), stream(pa.record_batch(columns()).slice(0, 0))):
        with pytest.raises(WrongShape, match="no heartbeat"):
            decode_arrow_fast(body, "meter", LIMITS)


def test_a_column_twice_is_refused() -> None:
    table = pa.table(columns()).append_column("voltage", pa.array([1, 2]))
    with pytest.raises(WrongShape, match="voltage twice"):
        decode_arrow_fast(stream(table), "meter", LIMITS)


def test_a_second_stream_after_the_first_is_not_silently_left_out() -> None:
    with pytest.raises(WrongShape, match="send one stream"):
        decode_arrow_fast(meters() + meters(), "meter", LIMITS)


def test_too_many_rows_are_refused_in_one_batch_or_in_many() -> None:
    one = pa.record_batch(columns(101))
    many = [pa.record_batch(columns(1))] * 101
    nulls = pa.record_batch({"timestamp": pa.nulls(100), "meterId": pa.nulls(100)})
    endless = pa.record_batch({"timestamp": pa.nulls(2**31 - 1), "meterId": pa.nulls(2**31 - 1)})
    for batches in ([one], many, [nulls] * 10_000, [endless]):
        with pytest.raises(BatchTooLarge):
            decode_arrow_fast(stream(*batches), "meter", LIMITS)


@pytest.mark.parametrize("length", [-1, -(2**62), 1, 3, 2**31, 2**62])
def test_a_batch_that_lies_about_its_length_is_refused(length: int) -> None:
    body = meters()
    honest = struct.pack("<q", 2)
    places = [at for at in range(len(body) - 8) if body[at : at + 8] == honest]
    assert places
    for at in places:
        lying = body[:at] + struct.pack("<q", length) + body[at + 8 :]
        for kind in ("meter", "telemetry"):
            assert_is_judged(lying, kind)


def test_a_type_that_python_has_no_class_for_is_refused_like_any_other() -> None:
    body = meters(voltage=pa.nulls(2, pa.month_day_nano_interval()))
    unit = b"\6\0\x08\0\6\0\6\0\0\0\0\0"  # what stands before it in the schema
    assert body.count(unit + b"\2") == 1
    body = body.replace(unit + b"\2", unit + b"\0")
    for look in (decode_arrow_fast, decode_arrow_strict):
        with pytest.raises(WrongShape, match="voltage must be a number, not month_interval"):
            look(body, "meter", LIMITS)


# -- broken streams --------------------------------------------------------------------------------

_SEEDS = [
    meters(),
    stream(*pa.table(columns(5)).to_batches(max_chunksize=2)),
    meters(
        timestamp=pa.array([NOW] * 2, pa.timestamp("s", "Europe/Berlin")),
        meterId=pa.array(["A", None], pa.large_string()),
        voltage=pa.array([1, None], pa.int16()),
        readingType=pa.nulls(2),
        nested=pa.array([[{"a": ["b"]}], None]),
        runs=pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array([1.0])),
        view=pa.array(["text longer than twelve", None], pa.string_view()),
    ),
]
_NASTY = [b"\xff" * 8, b"\0" * 8, b"\xff" * 7 + b"\x7f", b"\0" * 4 + b"\x7f"]
_cuts = st.tuples(st.integers(0, 10_000), st.sampled_from(_NASTY) | st.binary(max_size=8))


@given(st.sampled_from(_SEEDS), st.lists(_cuts, max_size=4), st.none() | st.integers(0, 10_000))
def test_no_broken_stream_breaks_the_reader(
    seed: bytes, changes: Sequence[tuple[int, bytes]], end: int | None
) -> None:
    body = bytearray(seed)
    for at, other in changes:
        body[at % len(body) : at % len(body) + len(other)] = other
    for kind in ("meter", "telemetry"):
        assert_is_judged(bytes(body[: end and end % len(body)]), kind)


@pytest.mark.parametrize("body", [b"\0", b"\xff\xff\xff\xff", b"ARROW1\0\0", b"{}" * 100])
def test_what_is_no_stream_is_not_readable(body: bytes) -> None:
    with pytest.raises(UnreadableBody, match="not an Arrow IPC stream"):
        decode_arrow_fast(body, "meter", LIMITS)


def test_names_and_zones_that_are_no_text_are_not_readable() -> None:
    body = meters(timestamp=pa.array([NOW] * 2, pa.timestamp("us", "Europe/Berlin")))
    for text in (b"meterId", b"timestamp", b"Europe/Berlin"):
        for look in (decode_arrow_fast, decode_arrow_strict):
            with pytest.raises((UnreadableBody, WrongShape)):
                look(body.replace(text, b"\xff" * len(text)), "meter", LIMITS)


def assert_is_judged(body: bytes, kind: str) -> None:
    """Either it is no such stream, or each of its records is taken or refused."""
    try:
        intake = read_arrow(body, kind)
    except (UnreadableBody, WrongShape, BatchTooLarge):
        return
    assert 0 < intake.accepted + intake.rejected <= LIMITS.records
