"""Efficiency of chargers: what each meter gave, whoever charged there."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake import METER, VEHICLE, EnergySettings
from lake.energy.interval_energy import measured_energy
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_DAILY, CHARGER_EFFICIENCY_HOURLY
from lake.settings import ChargerClass
from tests.unit.charger_recomputation import Range, recompute_charger
from tests.unit.energy_recomputation import (
    HOUR_10,
    HOUR_11,
    Row,
    charger_classes,
    links,
    readings,
    recompute_readings,
    recompute_status,
    seconds,
)
from tests.unit.energy_samples import (
    METERS,
    charger_table,
    exclusive_links,
    meter_rows,
    patiently,
    vehicle_rows,
)

SETTINGS = EnergySettings(
    _env_file=None,
    charger_classes={"household": ChargerClass(good_from_percent=76, warning_from_percent=70)},
)
MINUTES = range(60, 3600, 60)
CLASSES = {"M1": "household", "M2": "depot"}


def chargers(
    meters: Sequence[Row],
    vehicles: Sequence[Row],
    ranges: Sequence[Range],
    start: datetime = HOUR_10,
    end: datetime = HOUR_11,
) -> dict[str, dict[str, Any]]:
    """The rows of the window by meter; M1 and M2 have a class, M3 has none."""
    table = charger_table(
        measured_energy(readings(METER, meters), METER, start, end, SETTINGS),
        measured_energy(readings(VEHICLE, vehicles), VEHICLE, start, end, SETTINGS),
        links(ranges),
        charger_classes(CLASSES),
        start,
        end,
        SETTINGS,
    ).collect()
    assert table["meter_id"].is_sorted()
    return {row["meter_id"]: row for row in table.to_dicts()}


def each_minute(device: str, kwh: float | None, since: int = 0, until: int = 3600) -> list[Row]:
    """Heartbeats with this energy at each full minute of the seconds [since, until)."""
    stream = METER if device.startswith("M") else VEHICLE
    return [
        {stream.device: device, "timestamp": seconds(at), stream.energy: kwh, "duplicates": 1}
        for at in range(since, until, 60)
    ]


def link(meter: str, vehicle: str, since: int = 0, until: int = 3600) -> Range:
    return meter, vehicle, seconds(since), seconds(until), "link"


def test_an_hour_of_one_charger_and_one_vehicle() -> None:
    rows = chargers(each_minute("M1", 0.2), each_minute("V1", 0.176), [link("M1", "V1")])
    assert rows == {
        "M1": {
            "hour_start": HOUR_10,
            "meter_id": "M1",
            "charger_class": "household",
            "energy_ac_kwh": 12.0,
            "unlinked_energy_ac_kwh": 0.0,
            "energy_dc_kwh": 10.56,
            "loss_kwh": 1.44,
            "efficiency_percent": 88.0,
            "status": "good",
            "data_points_meter": 60,
            "data_points_vehicle": 60,
            "coverage_ac": pytest.approx(59 / 60),
            "coverage_dc": pytest.approx(59 / 60),
            "matched_share_ac": 1.0,
            "matched_share_dc": 1.0,
            "longest_gap_seconds": 60.0,
            "resets": 0,
            "duplicates": 120,
            "vehicle_ids": ["V1"],
        }
    }


def test_a_charger_is_rated_by_the_energy_of_all_its_vehicles() -> None:
    row = chargers(
        each_minute("M1", 0.2),
        each_minute("V1", 0.19) + each_minute("V2", 0.16),
        [link("M1", "V1", 0, 1800), link("M1", "V2", 1800, 3600)],
    )["M1"]
    assert (row["energy_dc_kwh"], row["vehicle_ids"]) == (10.5, ["V1", "V2"])  # 30 each
    assert (row["efficiency_percent"], row["status"]) == (87.5, "good")
    assert (row["matched_share_ac"], row["matched_share_dc"]) == (1.0, 1.0)


def test_energy_while_no_vehicle_is_linked_is_told_and_not_rated() -> None:
    row = chargers(each_minute("M1", 0.2), each_minute("V1", 0.18), [link("M1", "V1", 0, 1800)])[
        "M1"
    ]
    assert (row["energy_ac_kwh"], row["unlinked_energy_ac_kwh"]) == (12.0, 6.0)
    assert (row["energy_dc_kwh"], row["loss_kwh"]) == (5.4, 0.6)
    assert (row["efficiency_percent"], row["status"]) == (90.0, "good")
    assert row["coverage_ac"] == pytest.approx(59 / 60)


def test_a_charger_that_fed_nobody_is_unmapped() -> None:
    row = chargers(each_minute("M3", 0.2), each_minute("V1", 0.18), [])["M3"]
    assert (row["energy_ac_kwh"], row["unlinked_energy_ac_kwh"]) == (12.0, 12.0)
    assert (row["energy_dc_kwh"], row["loss_kwh"], row["efficiency_percent"]) == (None, None, None)
    assert (row["status"], row["vehicle_ids"], row["charger_class"]) == ("unmapped", [], None)


def test_a_linked_charger_without_a_heartbeat_has_a_row() -> None:
    row = chargers([], each_minute("V1", 0.18), [link("M2", "V1")])["M2"]
    assert (row["energy_ac_kwh"], row["energy_dc_kwh"]) == (None, 10.8)
    assert (row["status"], row["longest_gap_seconds"]) == ("insufficient_data", 3600.0)
    assert (row["coverage_ac"], row["data_points_meter"], row["charger_class"]) == (0, 0, "depot")


def test_chargers_that_feed_one_vehicle_share_its_energy_by_what_they_gave() -> None:
    rows = chargers(
        each_minute("M1", 0.3) + each_minute("M2", 0.1),
        each_minute("V1", 0.36),
        [link("M1", "V1"), link("M2", "V1")],
    )
    assert [rows[meter]["energy_dc_kwh"] for meter in ("M1", "M2")] == [16.2, 5.4]
    assert [rows[meter]["efficiency_percent"] for meter in ("M1", "M2")] == [90.0, 90.0]


@pytest.mark.parametrize("kwh", [0.0, None])
def test_the_first_charger_by_id_has_the_energy_if_none_gave_any(kwh: float | None) -> None:
    rows = chargers(
        each_minute("M1", kwh) + each_minute("M2", kwh),
        each_minute("V1", 0.1),
        [link("M2", "V1"), link("M1", "V1")],
    )
    assert [rows[meter]["energy_dc_kwh"] for meter in ("M1", "M2")] == [6.0, 0.0]


def test_a_charger_is_rated_by_the_limits_of_its_class() -> None:
    """M1 is a household socket, whose healthy ratios are lower; M3 has no class."""
    vehicles = each_minute("V1", 0.156) + each_minute("V2", 0.156)
    rows = chargers(
        each_minute("M1", 0.2) + each_minute("M3", 0.2),
        vehicles,
        [link("M1", "V1"), link("M3", "V2")],
    )
    assert [rows[meter]["efficiency_percent"] for meter in ("M1", "M3")] == [78.0, 78.0]
    assert [rows[meter]["status"] for meter in ("M1", "M3")] == ["good", "critical"]


def test_a_part_of_a_third_is_rounded_so_that_nothing_is_lost() -> None:
    rows = chargers(
        [row for meter in METERS for row in each_minute(meter, 0.1)],
        each_minute("V1", 0.1, 60, 120),
        [link(meter, "V1") for meter in METERS],
    )
    parts = [rows[meter]["energy_dc_kwh"] for meter in METERS]
    assert parts == [0.033333333, 0.033333334, 0.033333333]


def test_the_columns_and_types_are_those_of_the_tables() -> None:
    table = charger_table(
        measured_energy(readings(METER, []), METER, HOUR_10, HOUR_11, SETTINGS),
        measured_energy(readings(VEHICLE, []), VEHICLE, HOUR_10, HOUR_11, SETTINGS),
        links([]),
        charger_classes(CLASSES),
        HOUR_10,
        HOUR_11,
        SETTINGS,
    )
    arrow = table.collect().to_arrow()
    schema = pa.schema([column.field() for column in CHARGER_EFFICIENCY_HOURLY.columns])
    assert arrow.schema.names == schema.names
    assert arrow.cast(schema).schema.equals(schema)
    assert CHARGER_EFFICIENCY_DAILY.names[1:] == (*CHARGER_EFFICIENCY_HOURLY.names[1:], "hours")


def test_a_window_in_local_time_is_the_same_window() -> None:
    """In Berlin the clocks go back on this night: 02:30 comes twice. UTC does not care."""
    start, end = (datetime(2026, 10, 24, hour, 30, tzinfo=UTC) for hour in (22, 23))
    end += timedelta(hours=3)
    meters, vehicles = (
        [{**row, "timestamp": row["timestamp"] - HOUR_10 + start} for row in side]
        for side in (each_minute("M1", 0.2, 0, 14400), each_minute("V1", 0.18, 0, 14400))
    )
    ranges = [("M1", "V1", start, end, "link")]
    in_utc = chargers(meters, vehicles, ranges, start, end)
    assert in_utc["M1"]["data_points_meter"] == 240
    assert in_utc["M1"]["coverage_ac"] == pytest.approx(239 / 240)
    berlin = ZoneInfo("Europe/Berlin")
    local = start.astimezone(berlin), end.astimezone(berlin)
    assert chargers(meters, vehicles, ranges, *local) == in_utc


@settings(patiently, max_examples=15)
@given(meter_rows(), vehicle_rows(), exclusive_links())
def test_every_charger_agrees_with_the_recomputation(
    meters: list[Row], vehicles: list[Row], ranges: list[Range]
) -> None:
    rows = chargers(meters, vehicles, ranges)
    ac = recompute_readings(meters, METER, HOUR_10, HOUR_11, SETTINGS)
    dc = recompute_readings(vehicles, VEHICLE, HOUR_10, HOUR_11, SETTINGS)
    present = {r.device for r in ac} | {r[0] for r in ranges if r[2] < HOUR_11 and r[3] > HOUR_10}
    assert list(rows) == sorted(present)
    for name, row in rows.items():
        expected = recompute_charger(name, ac, dc, ranges, HOUR_10, HOUR_11)
        linked = expected.pop("linked")
        for column, value in expected.items():
            assert row[column] == (
                pytest.approx(value, abs=1e-7) if isinstance(value, float) else value
            ), column
        rated = {**row, "energy_ac_kwh": linked, "link_source": row["vehicle_ids"] or None}
        assert row["status"] == recompute_status(rated, SETTINGS)
        if linked is not None and row["energy_dc_kwh"] is not None:
            assert row["loss_kwh"] == pytest.approx(linked - row["energy_dc_kwh"], abs=1e-7)
        else:
            assert row["loss_kwh"] is row["efficiency_percent"] is None
        assert row["charger_class"] == CLASSES.get(name)
    # The chargers of a vehicle share its energy to the last microwatt-hour.
    shared = [round((row["energy_dc_kwh"] or 0) * 1e9) for row in rows.values()]
    linked_dc = [
        round((reading.energy or 0) * 1e9)
        for reading in dc
        if any(r[1] == reading.device and r[2] <= reading.timestamp < r[3] for r in ranges)
    ]
    assert sum(shared) == sum(linked_dc)


@settings(patiently, max_examples=15)
@given(meter_rows(), vehicle_rows(), exclusive_links(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_no_bit(
    meters: list[Row], vehicles: list[Row], ranges: list[Range], random: Any
) -> None:
    before = chargers(meters, vehicles, ranges)
    for rows in (meters, vehicles, ranges):
        random.shuffle(rows)
    assert chargers(meters, vehicles, ranges) == before
