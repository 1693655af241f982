"""Efficiency of chargers: what each meter gave, whoever charged there."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings

from lake import METER, VEHICLE, EnergySettings
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_DAILY, CHARGER_EFFICIENCY_HOURLY
from lake.schema.cost_columns import COST_COLUMNS
from lake.settings import ChargerClass
from tests.unit.energy_recomputation import HOUR_10, HOUR_11, Row, seconds
from tests.unit.energy_samples import (
    METERS,
    Range,
    exclusive_links,
    meter_rows,
    patiently,
    tables,
    vehicle_rows,
)

SETTINGS = EnergySettings(
    _env_file=None,
    charger_classes={"household": ChargerClass(good_from_percent=76, warning_from_percent=70)},
)
CLASSES = {"M1": "household", "M2": "depot"}


def chargers(
    meters: Sequence[Row],
    vehicles: Sequence[Row],
    ranges: Sequence[Range],
    start: datetime = HOUR_10,
    end: datetime = HOUR_11,
) -> dict[str, dict[str, Any]]:
    """The rows of the window by meter; M1 and M2 have a class, M3 has none."""
    table = tables(meters, vehicles, ranges, start, end, CLASSES, SETTINGS).chargers
    assert table["meter_id"].is_sorted()
    return {row["meter_id"]: row for row in table.to_dicts()}


def each_minute(device: str, kwh: float | None, since: int = -3600, until: int = 7200) -> list[Row]:
    """Heartbeats with this energy at each full minute of the seconds (since, until]."""
    stream = METER if device.startswith("M") else VEHICLE
    return [
        {stream.device: device, "timestamp": seconds(at), stream.energy: kwh, "duplicates": 1}
        for at in range(since + 60, until + 1, 60)
    ]


def link(meter: str, vehicle: str, since: int = -86400, until: int = 2 * 86400) -> Range:
    return meter, vehicle, seconds(since), seconds(until), "link"


def test_an_hour_of_one_charger_and_one_vehicle_is_the_hour_of_the_vehicle() -> None:
    sides = each_minute("M1", 0.2), each_minute("V1", 0.176), [link("M1", "V1")]
    row = chargers(*sides)["M1"]
    assert (row["energy_ac_kwh"], row["unlinked_energy_ac_kwh"]) == (12.0, 0.0)
    assert (row["energy_dc_kwh"], row["loss_kwh"], row["efficiency_percent"]) == (10.56, 1.44, 88.0)
    assert (row["status"], row["reason"]) == ("good", "rated")
    assert (row["charger_class"], row["vehicle_ids"]) == ("household", ["V1"])
    of_vehicle = tables(*sides, classes=CLASSES, settings=SETTINGS).vehicles.to_dicts()[0]
    shared = row.keys() & of_vehicle.keys()
    assert len(shared) > 40
    assert {name: row[name] for name in shared} == {name: of_vehicle[name] for name in shared}


def test_a_charger_is_rated_by_the_energy_of_all_its_vehicles() -> None:
    row = chargers(
        each_minute("M1", 0.2),
        each_minute("V1", 0.19) + each_minute("V2", 0.16),
        [link("M1", "V1", -3600, 1800), link("M1", "V2", 1800, 7200)],
    )["M1"]
    assert (row["energy_dc_kwh"], row["vehicle_ids"]) == (10.5, ["V1", "V2"])  # 30 each
    assert (row["efficiency_percent"], row["status"]) == (87.5, "good")
    assert (row["matched_share_ac"], row["matched_share_dc"]) == (1.0, 1.0)


@pytest.mark.parametrize(("before", "now"), [("V1", "V2"), ("V2", "V1")])
def test_whom_a_charger_fed_before_does_not_matter(before: str, now: str) -> None:
    links = [link("M1", before, until=-1800), link("M1", now, since=-1800)]
    vehicles = each_minute(before, 0.05) + each_minute(now, 0.11)
    row = chargers(each_minute("M1", 0.125), vehicles, links)["M1"]
    assert (row["vehicle_ids"], row["energy_dc_kwh"], row["status"]) == ([now], 6.6, "good")


def test_energy_while_no_vehicle_is_linked_is_told_and_not_rated() -> None:
    row = chargers(each_minute("M1", 0.2), each_minute("V1", 0.18), [link("M1", "V1", until=1800)])[
        "M1"
    ]
    assert (row["energy_ac_kwh"], row["unlinked_energy_ac_kwh"]) == (12.0, 6.0)
    assert (row["energy_dc_kwh"], row["loss_kwh"]) == (5.4, 0.6)
    assert (row["efficiency_percent"], row["status"]) == (90.0, "good")
    assert (row["coverage_ac"], row["unlinked_known_ac_seconds"]) == (1.0, 1800.0)


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
        each_minute("V1", 0.1, 0, 60),
        [link(meter, "V1") for meter in METERS],
    )
    parts = [rows[meter]["energy_dc_kwh"] for meter in METERS]
    assert parts == [0.033333333, 0.033333334, 0.033333333]


def test_the_columns_and_types_are_those_of_the_tables() -> None:
    arrow = tables([], [], [], classes=CLASSES).chargers.to_arrow()
    schema = pa.schema([column.field() for column in CHARGER_EFFICIENCY_HOURLY.columns])
    assert arrow.schema.names == schema.names
    assert arrow.cast(schema).schema.equals(schema)
    costs = (column.name for column in COST_COLUMNS)
    of_hours = CHARGER_EFFICIENCY_HOURLY.names[1:]
    assert CHARGER_EFFICIENCY_DAILY.names[1:] == (*of_hours, "hours", *costs)


def test_a_window_in_local_time_is_the_same_window() -> None:
    """In Berlin the clocks go back on this night: 02:30 comes twice. UTC does not care."""
    start, end = (datetime(2026, 10, 24, hour, 30, tzinfo=UTC) for hour in (22, 23))
    end += timedelta(hours=3)
    meters, vehicles = (
        [{**row, "timestamp": row["timestamp"] - HOUR_10 + start} for row in side]
        for side in (each_minute("M1", 0.2, -60, 14400), each_minute("V1", 0.18, -60, 14400))
    )
    ranges = [("M1", "V1", start, end, "link")]
    in_utc = chargers(meters, vehicles, ranges, start, end)
    assert in_utc["M1"]["data_points_meter"] == 240
    assert in_utc["M1"]["coverage_ac"] == 1.0
    berlin = ZoneInfo("Europe/Berlin")
    local = start.astimezone(berlin), end.astimezone(berlin)
    assert chargers(meters, vehicles, ranges, *local) == in_utc


@settings(patiently, max_examples=15)
@given(meter_rows(), vehicle_rows(), exclusive_links())
def test_the_energy_of_a_linked_vehicle_is_shared_by_its_chargers(
    meters: list[Row], vehicles: list[Row], ranges: list[Range]
) -> None:
    """Chargers have all that vehicles have, but for the time in which no meter fed them.

    The part of each meter of a reading that crosses an edge is cut on its own there, in whole
    microwatt-hours.
    """
    always = [(m, v, seconds(-86400), seconds(2 * 86400), source) for m, v, *_, source in ranges]
    first = list({meter: one for one in reversed(always) for meter in one[:1]}.values())
    found = tables(meters, vehicles, first)
    linked = found.vehicles.filter(found.vehicles["link_source"].is_not_null())
    for name in ("energy_ac_kwh", "energy_dc_kwh"):
        of_chargers = found.chargers.filter(found.chargers["vehicle_ids"].list.len() > 0)
        cut = 2 * (len(first) - linked.height)  # edges, of meters that share a vehicle
        assert abs(whole(of_chargers[name]) - whole(linked[name])) <= cut


def whole(kwh: pl.Series) -> int:
    """The sum in microwatt-hours."""
    return sum(round(value * 1e9) for value in kwh.drop_nulls())
