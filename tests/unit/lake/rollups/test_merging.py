"""Hours merged to any longer time: facts add up to those of the whole window."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from polars.testing import assert_frame_equal

from lake import HOUR, EnergySettings
from lake.energy.efficiency import EfficiencyTables
from lake.energy.fleet import fleet_efficiency
from lake.rollups.merging import as_windows, merge_charger_hours, merge_vehicle_hours
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_HOURLY
from lake.schema.vehicle_efficiency import VEHICLE_EFFICIENCY_HOURLY
from lake.settings import ChargerClass
from tests.unit.energy_recomputation import HOUR_10, Row, seconds
from tests.unit.energy_samples import (
    Range,
    charged_at,
    exclusive_links,
    meter_rows,
    patiently,
    tables,
    vehicle_rows,
)

SETTINGS = EnergySettings(
    _env_file=None,
    register_size_kwh=10,
    charger_classes={"household": ChargerClass(good_from_percent=76, warning_from_percent=70)},
)
HOURS = 4
END = HOUR_10 + HOURS * HOUR
# Each example computes four hours and all of them as one window.
several = settings(patiently, max_examples=10)


def hours_of(
    meters: Sequence[Row],
    vehicles: Sequence[Row],
    ranges: Sequence[Range],
    classes: dict[str, str] | None = None,
    start: datetime = HOUR_10,
    end: datetime = END,
) -> EfficiencyTables:
    """The rows of each hour."""
    found = [
        tables(
            meters,
            vehicles,
            ranges,
            start + n * HOUR,
            min(start + (n + 1) * HOUR, end),
            classes,
            SETTINGS,
        )
        for n in range(-((start - end) // HOUR))
    ]
    return EfficiencyTables(*(pl.concat(rows) for rows in zip(*found, strict=True)))


def merged(
    hours: EfficiencyTables, start: datetime = HOUR_10, end: datetime = END
) -> EfficiencyTables:
    return EfficiencyTables(
        merge_vehicle_hours(hours.vehicles, start, end, SETTINGS),
        merge_charger_hours(hours.chargers, start, end, SETTINGS),
    )


def one_meter_each(ranges: Sequence[Range]) -> list[Range]:
    """The links by which no two meters feed one vehicle: how two share it depends on the window."""
    first: dict[str, str] = {}
    return [one for one in ranges if first.setdefault(one[1], one[0]) == one[0]]


@several
@given(meter_rows(hours=HOURS), vehicle_rows(hours=HOURS), exclusive_links(), charged_at)
def test_merged_hours_are_the_whole_window_in_every_column(
    meters: list[Row], vehicles: list[Row], ranges: list[Range], classes: dict[str, str]
) -> None:
    ranges = one_meter_each(ranges)
    whole = tables(meters, vehicles, ranges, HOUR_10, END, classes, SETTINGS)
    hours = hours_of(meters, vehicles, ranges, classes)
    for found, expected, rows in zip(merged(hours), whole, hours, strict=True):
        # A device may be told in the whole window by what cancels in its hours, and the other way.
        device = found.columns[1]
        both = [d for d in found[device] if d in expected[device].implode().item()]
        assert_frame_equal(
            found.drop("hours").filter(pl.col(device).is_in(both)),
            expected.filter(pl.col(device).is_in(both)),
            check_exact=True,
        )
        counts = rows.group_by(device).len("hours").sort(device)
        assert found["hours"].to_list() == counts["hours"].to_list()


@several
@given(meter_rows(hours=HOURS), vehicle_rows(hours=HOURS), exclusive_links())
def test_a_day_and_hours_beside_it_merge_as_their_hours_do(
    meters: list[Row], vehicles: list[Row], ranges: list[Range]
) -> None:
    """A day of two hours: what is merged once may be merged again."""
    hours = hours_of(meters, vehicles, one_meter_each(ranges))
    middle = HOUR_10 + 2 * HOUR
    date = pl.lit(HOUR_10.date()).alias("date")
    merge = (merge_vehicle_hours, merge_charger_hours)
    for of_hours, merged_of in zip(hours, merge, strict=True):
        early = of_hours.filter(pl.col("hour_start") < middle)
        late = of_hours.filter(pl.col("hour_start") >= middle)
        day = merged_of(early, HOUR_10, middle, SETTINGS).drop("hour_start")
        parts = [as_windows(day.with_columns(date)), as_windows(late)]
        # The day begins and ends elsewhere than at midnight here.
        parts[0] = parts[0].with_columns(
            hour_start=pl.lit(HOUR_10).cast(pl.Datetime("us", "UTC")),
            _end=pl.lit(middle).cast(pl.Datetime("us", "UTC")),
        )
        found = merged_of(pl.concat(parts, how="diagonal"), HOUR_10, END, SETTINGS)
        whole = merged_of(of_hours, HOUR_10, END, SETTINGS)
        assert_frame_equal(found, whole, check_exact=True)


@several
@given(meter_rows(hours=HOURS), vehicle_rows(hours=HOURS), exclusive_links())
def test_the_energies_of_merged_hours_are_the_sums_of_their_columns(
    meters: list[Row], vehicles: list[Row], ranges: list[Range]
) -> None:
    """So the rows of a table of hours may be added up in SQL as well."""
    hours = hours_of(meters, vehicles, ranges)
    names = [name for name in hours.vehicles.columns if "energy_" in name]
    whole = merged(hours).vehicles
    for row in whole.iter_rows(named=True):
        of_vehicle = hours.vehicles.filter(vehicle_id=row["vehicle_id"])
        for name in names:
            known = [round(kwh * 1e9) for kwh in of_vehicle[name].drop_nulls()]
            assert row[name] == (sum(known) / 1e9 if known else None)
        assert row["data_points_vehicle"] == of_vehicle["data_points_vehicle"].sum()


@several
@given(meter_rows(hours=HOURS), vehicle_rows(hours=HOURS), exclusive_links())
def test_the_fleet_of_merged_hours_has_all_ac_energy_of_its_hours(
    meters: list[Row], vehicles: list[Row], ranges: list[Range]
) -> None:
    hours = hours_of(meters, vehicles, ranges)
    of_hours = fleet_efficiency(hours.vehicles.lazy(), hours.chargers.lazy()).collect()
    whole = merged(hours)
    fleet = fleet_efficiency(whole.vehicles.lazy(), whole.chargers.lazy()).collect()
    for name in ("energy_ac_kwh", "unlinked_energy_ac_kwh"):
        total = sum(round(kwh * 1e9) for kwh in of_hours[name]) / 1e9
        assert fleet[name].sum() == total


def side(name: str, minutes: Sequence[float], kwh: float, **other: Any) -> list[Row]:
    """Readings of M1 or V1 at these minutes after 10:00."""
    of_meter = name == "M1"
    device, energy = (
        ("meter_id", "kwh_consumed_ac") if of_meter else ("vehicle_id", "kwh_delivered_dc")
    )
    return [{device: name, "timestamp": seconds(60 * m), energy: kwh, **other} for m in minutes]


ALWAYS: list[Range] = [("M1", "V1", seconds(-86400), seconds(86400), "link")]


def test_a_gap_over_the_full_hour_is_one_gap() -> None:
    meters = side("M1", range(0, 240, 2), 0.12)
    vehicles = side("V1", [*range(0, 40, 2), *range(100, 240, 2)], 0.1)
    hours = hours_of(meters, vehicles, ALWAYS)
    assert hours.vehicles["longest_gap_seconds"].max() == 40 * 60
    assert merged(hours).vehicles["longest_gap_seconds"].to_list() == [62 * 60]


def test_hours_without_a_row_are_silence() -> None:
    """Nobody heard of the vehicle from 10:10 to 13:00, and nothing links it."""
    vehicles = side("V1", [*range(1, 10), *range(181, 241)], 0.1)
    hours = hours_of([], vehicles, [])
    assert hours.vehicles.height == 2
    (row,) = merged(hours).vehicles.to_dicts()
    assert row["hours"] == 2
    assert row["longest_gap_seconds"] == 4 * 3600  # no meter was heard at all
    assert row["inner_gap_dc_seconds"] == 172 * 60
    assert row["coverage_dc"] == pytest.approx((9 + 60) / 240, abs=0.01)


def test_a_vehicle_that_was_linked_for_an_hour_is_linked() -> None:
    ranges: list[Range] = [
        ("M1", "V1", HOUR_10, HOUR_10 + HOUR, "rule"),
        ("M2", "V1", HOUR_10 + 2 * HOUR, END, "heartbeat"),
    ]
    meters = side("M1", range(-9, 250), 0.2)
    hours = hours_of(meters, side("V1", range(-9, 250), 0.18), ranges, {"M1": "household"})
    (row,) = merged(hours).vehicles.to_dicts()
    assert (row["link_source"], row["meter_ids"]) == ("heartbeat+rule", ["M1", "M2"])
    assert (row["charger_class"], row["energy_ac_kwh"], row["energy_dc_kwh"]) == (
        "household",
        12.0,
        43.2,
    )
    assert row["reason"] == "unmatched_dc"


def test_no_hours_have_no_rows() -> None:
    empty = merged(hours_of([], [], []))
    for rows, spec in zip(
        empty, (VEHICLE_EFFICIENCY_HOURLY, CHARGER_EFFICIENCY_HOURLY), strict=True
    ):
        assert rows.is_empty()
        schema = pa.schema([column.field() for column in spec.columns])
        assert rows.drop("hours").to_arrow().cast(schema).schema.equals(schema)


@pytest.mark.parametrize(
    "midnight",
    [
        datetime(2026, 11, 21, tzinfo=UTC),
        datetime(2028, 2, 29, tzinfo=UTC),
        datetime(2028, 3, 1, tzinfo=UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
        datetime(2026, 10, 25, 1, tzinfo=UTC),  # clocks go back in Europe
        datetime(2026, 3, 29, 1, tzinfo=UTC),  # and forward
    ],
)
def test_a_reading_over_midnight_is_divided_and_nothing_is_lost(midnight: datetime) -> None:
    """1.5 kWh from ten minutes before to five minutes after."""
    step = timedelta(minutes=15)
    meters = [
        {"meter_id": "M1", "timestamp": midnight + timedelta(minutes=5) + n * step}
        | {"kwh_consumed_ac": 1.5}
        for n in range(-12, 13)
    ]
    days = (midnight - 2 * HOUR, midnight), (midnight, midnight + 2 * HOUR)
    found = [merged(hours_of(meters, [], [], None, *day), *day).chargers for day in days]
    assert [rows["energy_ac_kwh"].to_list() for rows in found] == [[12.0], [12.0]]
    hour = tables(meters, [], [], midnight - step, midnight, settings=SETTINGS).chargers
    assert hour["energy_ac_kwh"].to_list() == [1.5]
    both = midnight - 2 * HOUR, midnight + 2 * HOUR
    (row,) = merged(hours_of(meters, [], [], None, *both), *both).chargers.to_dicts()
    assert (row["energy_ac_kwh"], row["coverage_ac"]) == (24.0, 1.0)
