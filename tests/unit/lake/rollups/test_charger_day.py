"""A day of the chargers agrees with its hours, and with its heartbeats taken as one window."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings

from lake import HOUR, METER, VEHICLE, EnergySettings
from lake.energy.interval_energy import measured_energy
from lake.energy.links import join_adjacent_links
from lake.energy.window_facts import facts_of_window
from lake.rollups.daily_efficiency import charger_day, charger_evidence
from lake.rollups.day_parts import day_parts
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_DAILY
from lake.settings import ChargerClass
from tests.unit.energy_recomputation import Row, charger_classes, devices, links, readings
from tests.unit.energy_samples import (
    charger_table,
    exclusive_links,
    meter_rows,
    of_devices,
    patiently,
    vehicle_rows,
    with_context,
)

START = datetime(2026, 11, 20, 10, tzinfo=UTC)
HOURS = [START + n * HOUR for n in range(3)]
END = HOURS[-1] + HOUR
SETTINGS = EnergySettings(
    _env_file=None,
    charger_classes={"household": ChargerClass(good_from_percent=76, warning_from_percent=70)},
)
CLASSES = charger_classes({"M1": "household"})
ENERGIES = ("energy_ac_kwh", "unlinked_energy_ac_kwh", "energy_dc_kwh")

Range = tuple[str, str, datetime, datetime, str]
several = settings(patiently, max_examples=5)


@pytest.fixture(autouse=True, scope="module")
def one_meter_at_once() -> Iterator[None]:
    """A day is computed in parts; where it is cut must make no difference."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lake.rollups.day_parts._GROUPS_AT_ONCE", 1)
        yield


def of_window(
    meters: Sequence[Row],
    vehicles: Sequence[Row],
    ranges: Sequence[Range],
    start: datetime,
    end: datetime,
) -> pl.DataFrame:
    """The chargers of a window, from its heartbeats."""
    ac, dc = (
        measured_energy(
            readings(stream, with_context(rows, stream, start, end, SETTINGS)),
            stream,
            start,
            end,
            SETTINGS,
        )
        .collect()
        .lazy()
        for stream, rows in ((METER, meters), (VEHICLE, vehicles))
    )
    fed = join_adjacent_links(links(ranges)).collect().lazy()
    return charger_table(ac, dc, fed, CLASSES, start, end, SETTINGS).collect()


def of_day(
    meters: Sequence[Row], vehicles: Sequence[Row], ranges: Sequence[Range]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The chargers of the day, and of its hours, each hour with the links it has resolved."""
    cut = [
        (meter, vehicle, max(since, hour), min(until, hour + HOUR), source)
        for hour in HOURS
        for meter, vehicle, since, until, source in ranges
        if since < hour + HOUR and until > hour
    ]
    hours = pl.concat([of_window(meters, vehicles, ranges, hour, hour + HOUR) for hour in HOURS])
    parts = day_parts(
        hours["meter_id"].unique(),
        devices(VEHICLE, vehicles, [vehicle for _, vehicle, *_ in ranges]),
        of_devices(readings(METER, with_context(meters, METER, START, END, SETTINGS))),
        of_devices(readings(VEHICLE, with_context(vehicles, VEHICLE, START, END, SETTINGS))),
        links(cut),
        CLASSES,
        START,
        END,
        SETTINGS,
    )
    found = (facts_of_window(*part, CLASSES, START, END) for part in parts)
    evidence = [charger_evidence(facts.lazy()).collect() for _, facts in found]
    day = charger_day(hours.lazy(), evidence, START, END, SETTINGS)
    return day, hours


@several
@given(meter_rows(hours=3), vehicle_rows(hours=3), exclusive_links())
def test_what_adds_up_is_that_of_the_hours_to_the_last_bit(
    meters: list[Row], vehicles: list[Row], ranges: list[Range]
) -> None:
    day, hours = of_day(meters, vehicles, ranges)
    for found in day.iter_rows(named=True):
        of_meter = hours.filter(meter_id=found["meter_id"])
        for name in ENERGIES:
            known = [round(kwh * 1e9) for kwh in of_meter[name].drop_nulls()]
            assert found[name] == (sum(known) / 1e9 if known else None)
        for name in ("data_points_meter", "data_points_vehicle", "resets", "duplicates"):
            assert found[name] == of_meter[name].sum()
        assert found["hours"] == of_meter.height


@several
@given(meter_rows(hours=3), vehicle_rows(hours=3), exclusive_links())
def test_what_does_not_add_up_is_that_of_the_heartbeats_in_one_window(
    meters: list[Row], vehicles: list[Row], ranges: list[Range]
) -> None:
    day, _ = of_day(meters, vehicles, ranges)
    whole = of_window(meters, vehicles, ranges, START, END)
    # How two meters share a vehicle depends on the window; all else is the same.
    alone = day.filter(pl.col("vehicle_ids").list.len() <= 1)["meter_id"]
    shared = {vehicle for _, vehicle, *_ in ranges if fed_by(vehicle, ranges) > 1}
    names = ["meter_id", "coverage_ac", "longest_gap_seconds", "vehicle_ids", "charger_class"]
    assert day.select(names).equals(whole.select(names))
    if not shared:
        everything = pl.all().exclude("date", "hour_start", "hours")
        is_alone = pl.col("meter_id").is_in(alone.to_list())
        assert (
            day.filter(is_alone)
            .select(everything)
            .equals(whole.filter(is_alone).select(everything))
        )


def test_a_day_without_hours_has_no_charger() -> None:
    day, _ = of_day([], [], [])
    assert day.columns == list(CHARGER_EFFICIENCY_DAILY.names)
    assert day.is_empty()


def fed_by(vehicle: str, ranges: Sequence[Range]) -> int:
    """By how many meters the vehicle was fed."""
    return len({meter for meter, fed, *_ in ranges if fed == vehicle})
