"""Every record of a body is taken or refused on its own, with the field and the reason."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic.alias_generators import to_camel, to_snake

from ingestion_api.heartbeats.batch import Limits
from ingestion_api.heartbeats.strict_decoder import (
    BatchTooLarge,
    DecodedBatch,
    UnreadableBody,
    WrongShape,
    decode_lines_fast,
    decode_lines_strict,
    decode_one_strict,
)
from lake import METER, VEHICLE
from tests.unit.intakes import read_batch, read_telemetry

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LIMITS = Limits.from_clock(NOW, tolerance_seconds=300, records=100)


def meter(**fields: Any) -> dict[str, Any]:
    """A good meter heartbeat with some fields changed."""
    good = {"meterId": "METER001", "timestamp": "2026-03-01T12:00:00Z", "kwhConsumedAc": 0.125}
    return {**good, **fields}


def vehicle(**fields: Any) -> dict[str, Any]:
    """A good vehicle heartbeat with some fields changed."""
    return {"vehicleId": "VEH001", "timestamp": "2026-03-01T12:00:00Z", "soc": 50, **fields}


def batch(*records: Any, stream: Any = METER) -> DecodedBatch:
    """The intake of a batch of these records."""
    return read_batch(json.dumps(list(records)).encode(), stream.name, LIMITS)


def rows(intake: DecodedBatch, stream: str) -> list[dict[str, Any]]:
    """The accepted rows of a stream."""
    return intake.rows[stream].to_arrow().to_pylist()


def test_a_meter_heartbeat_becomes_a_row_with_nulls_for_what_was_not_sent() -> None:
    assert rows(batch(meter()), "meter") == [
        {
            "meter_id": "METER001",
            "timestamp": NOW,
            "kwh_consumed_ac": 0.125,
            "voltage": None,
            "reading_type": "interval",
            "interval_seconds": None,
            "phase": None,
        }
    ]


def test_a_vehicle_heartbeat_becomes_a_row_with_nulls_for_what_was_not_sent() -> None:
    sent = vehicle(meterId="METER001", readingType="register", kwhDeliveredDc=1234.5)
    assert rows(batch(sent, stream=VEHICLE), "vehicle") == [
        {
            "vehicle_id": "VEH001",
            "timestamp": NOW,
            "kwh_delivered_dc": 1234.5,
            "soc": 50.0,
            "battery_temp": None,
            "meter_id": "METER001",
            "reading_type": "register",
            "interval_seconds": None,
        }
    ]


def test_a_null_is_the_same_as_not_sent() -> None:
    sent = meter(voltage=None, readingType=None)
    assert rows(batch(sent), "meter") == rows(batch(meter()), "meter")


def test_unknown_fields_are_ignored() -> None:
    assert batch(meter(firmware={"version": [1, 2]}, signal=-70)).rejected == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T12:00:00Z", NOW),
        ("2026-03-01 12:00:00+00:00", NOW),
        ("2026-03-01T14:00:00+02:00", NOW),
        ("2026-03-01T14:00:00+0200", NOW),
        ("2026-03-01T12:00Z", NOW),
        ("2026-03-01T11:59:59.9Z", NOW.replace(hour=11, minute=59, second=59, microsecond=900000)),
        ("2026-03-01T12:00:00.123456Z", NOW.replace(microsecond=123456)),
        ("2026-03-01T12:00:00.123456789Z", NOW.replace(microsecond=123456)),
        ("2000-01-01T00:00:00Z", datetime(2000, 1, 1, tzinfo=UTC)),
        ("2026-03-01T12:05:00Z", NOW.replace(minute=5)),
    ],
)
def test_times_with_a_zone_are_taken_to_the_microsecond(text: str, expected: datetime) -> None:
    assert rows(batch(meter(timestamp=text)), "meter")[0]["timestamp"] == expected


@pytest.mark.parametrize("device", [".a", "a.", "...", "-.-", ". .", "~", "!", "." * 64])
def test_an_id_may_have_dots_as_long_as_it_is_no_step_of_a_path(device: str) -> None:
    assert rows(batch(meter(meterId=device)), "meter")[0]["meter_id"] == device
    body = json.dumps([meter(meterId=device), meter(meterId="..")]).encode()
    decoded = read_batch(body, "meter", LIMITS)
    assert rows(decoded, "meter")[0]["meter_id"] == device
    (refusal,) = decoded.refusals
    assert (refusal.code, "path of a URL" in refusal.reason) == ("bad_id", True)


BAD_METERS: list[tuple[dict[str, Any], str | None]] = [
    ({"timestamp": "2026-03-01T12:00:00"}, "timestamp"),
    ({"timestamp": "2026-03-01"}, "timestamp"),
    ({"timestamp": "yesterday"}, "timestamp"),
    ({"timestamp": 1772366400}, "timestamp"),
    ({"timestamp": "1772366400"}, "timestamp"),
    ({"timestamp": None}, "timestamp"),
    ({"timestamp": "2026-02-30T12:00:00Z"}, "timestamp"),
    ({"timestamp": "2026-03-01T25:00:00Z"}, "timestamp"),
    ({"timestamp": "1999-12-31T23:59:59.999999Z"}, "timestamp"),
    ({"timestamp": "0000-01-01T00:00:00Z"}, "timestamp"),
    ({"timestamp": "2026-03-01T12:05:00.000001Z"}, "timestamp"),
    ({"timestamp": "9999-12-31T23:59:59-14:00"}, "timestamp"),
    ({"meterId": ""}, "meterId"),
    ({"meterId": "x" * 65}, "meterId"),
    ({"meterId": " METER"}, "meterId"),
    ({"meterId": "METER\n"}, "meterId"),
    ({"meterId": "ME\x00TER"}, "meterId"),
    ({"meterId": "ME\ud800TER"}, "meterId"),
    ({"meterId": "."}, "meterId"),
    ({"meterId": ".."}, "meterId"),
    ({"meterId": 17.0}, "meterId"),
    ({"meterId": 1e3}, "meterId"),
    ({"meterId": True}, "meterId"),
    ({"meterId": 10**70}, "meterId"),
    ({"meterId": None}, "meterId"),
    ({"kwhConsumedAc": -0.001}, "kwhConsumedAc"),
    ({"kwhConsumedAc": 1000.1}, "kwhConsumedAc"),
    ({"kwhConsumedAc": 1e10, "readingType": "register"}, "kwhConsumedAc"),
    ({"kwhConsumedAc": float("nan")}, "kwhConsumedAc"),
    ({"kwhConsumedAc": float("inf")}, "kwhConsumedAc"),
    ({"kwhConsumedAc": "0.5"}, "kwhConsumedAc"),
    ({"kwhConsumedAc": True}, "kwhConsumedAc"),
    ({"kwhConsumedAc": [1]}, "kwhConsumedAc"),
    ({"kwhConsumedAc": 10**400}, "kwhConsumedAc"),
    ({"voltage": -230, "kwhConsumedAc": None}, "voltage"),
    ({"phase": "a phase"}, "phase"),
    ({"phase": "x" * 17}, "phase"),
    ({"phase": True}, "phase"),
    ({"readingType": "total"}, "readingType"),
    ({"kwhConsumedAc": None}, None),
]
BAD_VEHICLES: list[tuple[dict[str, Any], str | None]] = [
    ({"soc": 100.1, "batteryTemp": None}, "soc"),
    ({"kwhDeliveredDc": -1}, "kwhDeliveredDc"),
    ({"kwhDeliveredDc": 1001}, "kwhDeliveredDc"),
    ({"vehicleId": "."}, "vehicleId"),
    ({"vehicleId": "\x7f"}, "vehicleId"),
    ({"soc": None}, None),
]


@pytest.mark.parametrize(
    ("stream", "good", "fields", "field"),
    [(METER, meter, *case) for case in BAD_METERS]
    + [(VEHICLE, vehicle, *case) for case in BAD_VEHICLES],
    ids=lambda value: (
        str(getattr(value, "__name__", value))[:40].encode("ascii", "replace").decode()
    ),
)
def test_a_bad_record_is_refused_with_its_index_and_field_and_the_rest_is_kept(
    stream: Any, good: Any, fields: dict[str, Any], field: str | None
) -> None:
    intake = batch(good(), good(**fields), good(), stream=stream)
    assert [(refusal.index, refusal.field) for refusal in intake.refusals] == [(1, field)]
    assert intake.refusals[0].reason
    assert intake.accepted == 2
    assert intake.rejected == 1


@pytest.mark.parametrize("record", [None, 7, "METER001", [], [meter()], True])
def test_a_record_that_is_no_object_is_refused_as_a_whole(record: Any) -> None:
    intake = batch(meter(), record)
    assert [(refusal.index, refusal.field) for refusal in intake.refusals] == [(1, None)]
    assert intake.accepted == 1


@pytest.mark.parametrize(
    ("stream", "good", "fields", "field"),
    [
        *((METER, meter, {"voltage": value}, "voltage") for value in (-5, 1e6, "n/a", True, [1])),
        *((VEHICLE, vehicle, {"soc": value}, "soc") for value in (-1, 100.1, "NaN", float("nan"))),
        *((VEHICLE, vehicle, {"batteryTemp": value}, "batteryTemp") for value in (201, -101, "-")),
        *((VEHICLE, vehicle, {"meterId": value}, "meterId") for value in ("", "..", "x" * 65, 7.5)),
        *(
            (METER, meter, {"intervalSeconds": value}, "intervalSeconds")
            for value in (0, -60, 604_801, "60")
        ),
        *(
            (METER, meter, {"intervalStart": value}, "intervalStart")
            for value in ("x", "2026-03-01T12:00:00Z", "2026-02-20T12:00:00Z", 7)
        ),
        (
            METER,
            meter,
            {"intervalStart": "2026-03-01T11:45:00Z", "intervalSeconds": 60},
            "intervalStart",
        ),
    ],
)
def test_a_fault_of_an_optional_field_costs_the_field_alone(
    stream: Any, good: Any, fields: dict[str, Any], field: str
) -> None:
    energy = {to_camel(stream.energy): 0.125}
    intake = batch(good(), good(**energy, **fields), good(), stream=stream)
    assert not intake.refusals
    (warning,) = intake.warnings
    assert (warning.index, warning.field, warning.stream) == (1, field, stream.name)
    assert repr(warning.value) == repr(fields[field])
    stored = rows(intake, stream.name)[1]
    column = "interval_seconds" if field.startswith("interval") else to_snake(field)
    assert stored[column] is None
    assert stored[stream.energy] == 0.125


def test_a_whole_number_is_taken_as_an_id() -> None:
    for body in (b"[%b]", b"[7,%b]"):
        one = json.dumps(meter(meterId=871687120061, phase=1)).encode()
        (row,) = rows(read_batch(body % one, "meter", LIMITS), "meter")
        assert (row["meter_id"], row["phase"]) == ("871687120061", "1")
    car = json.dumps([vehicle(vehicleId=12, meterId=34)]).encode()
    (row,) = rows(read_telemetry(car, LIMITS), "vehicle")
    assert (row["vehicle_id"], row["meter_id"]) == ("12", "34")


def test_other_numbers_are_no_ids_and_the_reason_says_so() -> None:
    intake = batch(meter(meterId=7.0))
    assert "whole number" in intake.refusals[0].reason


def test_a_declared_interval_is_stored_whichever_way_it_is_said() -> None:
    intake = batch(
        meter(intervalSeconds=900),
        meter(intervalStart="2026-03-01T12:45:00+01:00"),
        meter(intervalStart="2026-03-01T11:45:00Z", intervalSeconds=900),
        meter(intervalStart=None, intervalSeconds=None),
    )
    assert [row["interval_seconds"] for row in rows(intake, "meter")] == [900, 900, 900, None]
    assert not intake.warnings


def test_each_unknown_field_is_told_once_with_what_was_meant() -> None:
    wrong = meter(kwhConsumedAC=1, firmware="1.2")
    for others in ([], [7]):  # as it is decoded fast, and strictly
        intake = read_batch(json.dumps([meter(), wrong, wrong, *others]).encode(), "meter", LIMITS)
        assert [(one.index, one.field, one.reason) for one in intake.warnings] == [
            (1, "firmware", "is not known"),
            (1, "kwhConsumedAC", "is not known; did you mean kwhConsumedAc?"),
        ]
        assert intake.accepted == 3
    many = json.dumps([meter(**{f"field{n}": n for n in range(50)})]).encode()
    assert len(read_batch(many, "meter", LIMITS).warnings) == 20


def test_fields_that_one_of_the_contracts_has_are_known_where_both_are_taken() -> None:
    body = json.dumps([vehicle(voltage=None, phase=None), meter(soc=None, type="meter")]).encode()
    assert not read_telemetry(body, LIMITS).warnings


def test_a_strict_request_has_records_with_unknown_fields_refused() -> None:
    strict = replace(LIMITS, refuse_unknown=True)
    body = json.dumps([meter(), meter(firmware="1.2")]).encode()
    intake = read_batch(body, "meter", strict)
    assert [(one.index, one.field, one.code) for one in intake.refusals] == [
        (1, "firmware", "unknown_field")
    ]
    assert intake.accepted == 1


def test_every_fault_of_a_record_is_told() -> None:
    intake = batch({"voltage": -1, "kwhConsumedAc": "x"})
    assert {refusal.field for refusal in intake.refusals} == {
        "meterId",
        "timestamp",
        "voltage",
        "kwhConsumedAc",
    }
    assert intake.rejected == 1


def test_a_register_may_be_larger_than_an_interval() -> None:
    assert batch(meter(kwhConsumedAc=500_000, readingType="register")).accepted == 1


@pytest.mark.parametrize("body", [b"", b"nope", b"[1,", b"{'a':1}", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_json_is_told_so(body: bytes) -> None:
    with pytest.raises(UnreadableBody):
        read_batch(body, "meter", LIMITS)
    with pytest.raises(UnreadableBody):
        decode_one_strict(body, "meter", LIMITS)
    with pytest.raises(UnreadableBody):
        read_telemetry(body, LIMITS)


@pytest.mark.parametrize("body", [b"[]", b"{}", b"7", b"null", b'"x"'])
def test_a_batch_is_a_list_that_is_not_empty(body: bytes) -> None:
    with pytest.raises(WrongShape):
        read_batch(body, "meter", LIMITS)


def test_one_heartbeat_is_an_object() -> None:
    with pytest.raises(WrongShape, match="batch"):
        decode_one_strict(json.dumps([meter()]).encode(), "meter", LIMITS)


@pytest.mark.parametrize("record", [meter(), 0])
def test_a_batch_has_a_largest_size(record: Any) -> None:
    with pytest.raises(BatchTooLarge, match="101"):
        batch(*[record] * 101)


def test_telemetry_is_told_apart_by_its_fields_or_its_type() -> None:
    records = [
        meter(meterId="M1"),
        vehicle(vehicleId="V1"),
        vehicle(vehicleId="V2", meterId="M9", voltage=None),
        meter(meterId="M2", type="meter", vehicleId="V3"),
        meter(meterId="M3", vehicleId=None),
        {"timestamp": "2026-03-01T12:00:00Z", "soc": 5},
        vehicle(type="scooter"),
        meter(vehicleId="V4"),
        "text",
    ]
    intake = read_telemetry(json.dumps(records).encode(), LIMITS)
    assert [row["meter_id"] for row in rows(intake, "meter")] == ["M1", "M2", "M3"]
    assert [row["vehicle_id"] for row in rows(intake, "vehicle")] == ["V1", "V2"]
    assert [(refusal.index, refusal.field) for refusal in intake.refusals] == [
        (5, "type"),
        (6, "type"),
        (7, "type"),
        (8, None),
    ]


def test_refusals_of_mixed_telemetry_have_the_index_of_the_request() -> None:
    records = [vehicle(), meter(), vehicle(soc=101, batteryTemp=None), meter(kwhConsumedAc=-1)]
    intake = read_telemetry(json.dumps(records).encode(), LIMITS)
    assert [(refusal.index, refusal.field) for refusal in intake.refusals] == [
        (2, "soc"),
        (3, "kwhConsumedAc"),
    ]


def test_telemetry_may_be_one_heartbeat() -> None:
    assert read_telemetry(json.dumps(vehicle()).encode(), LIMITS).accepted == 1


def test_a_number_of_any_length_is_refused_on_its_own() -> None:
    good = json.dumps(meter()).encode()
    huge = good.replace(b"0.125", b"1" * 10_000)
    intake = read_batch(b"[%b,%b]" % (good, huge), "meter", LIMITS)
    assert [(refusal.index, refusal.field) for refusal in intake.refusals] == [(1, "kwhConsumedAc")]
    assert intake.accepted == 1


def test_of_a_key_that_comes_twice_the_last_counts_in_good_and_in_mixed_batches() -> None:
    twice = json.dumps(meter())[:-1].encode() + b',"meterId":"OTHER"}'
    for body in (b"[%b]" % twice, b"[%b,7]" % twice):
        assert rows(read_batch(body, "meter", LIMITS), "meter")[0]["meter_id"] == "OTHER"


def test_json_that_goes_on_over_several_lines_is_no_ndjson() -> None:
    one = b'{"meterId": "M",\n "timestamp": "2026-03-01T12:00:00Z", "voltage": 230}\n'
    assert decode_lines_fast(one, "meter", LIMITS) is None
    intake = decode_lines_strict(one, "meter", LIMITS)
    assert [refusal.code for refusal in intake.refusals] == ["not_json", "not_json"]
