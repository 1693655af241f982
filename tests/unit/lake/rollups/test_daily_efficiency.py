"""A day agrees with its hours, and with its heartbeats taken as one window."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings

from lake import HOUR, METER, VEHICLE, EnergySettings
from lake.energy.efficiency import fleet_efficiency, unlinked_energy, vehicle_efficiency
from lake.energy.interval_energy import measured_energy
from lake.energy.links import join_adjacent_links
from lake.energy.window_facts import facts_of_window
from lake.rollups.daily_efficiency import fleet_day, vehicle_day, vehicle_evidence
from lake.rollups.day_parts import day_parts
from lake.schema.table_spec import TableSpec
from lake.schema.vehicle_efficiency import FLEET_EFFICIENCY_DAILY, VEHICLE_EFFICIENCY_DAILY
from lake.settings import ChargerClass
from tests.unit.energy_recomputation import Row, charger_classes, devices, links, readings
from tests.unit.energy_samples import (
    charged_at,
    exclusive_links,
    meter_rows,
    of_devices,
    patiently,
    vehicle_rows,
    with_context,
)

# The samples begin 20 minutes before 10:00; four hours of a day are a day that is not over.
START = datetime(2026, 11, 20, 10, tzinfo=UTC)
END = START + 4 * HOUR
SETTINGS = EnergySettings(
    _env_file=None,
    register_size_kwh=10,
    charger_classes={"household": ChargerClass(good_from_percent=76, warning_from_percent=70)},
)

Range = tuple[str, str, datetime, datetime, str]


class Sample:
    """The hours of a day as the pipelines compute them, and what they were computed from."""

    def __init__(
        self,
        meters: Sequence[Row],
        vehicles: Sequence[Row],
        ranges: Sequence[Range],
        classes: dict[str, str] | None = None,
    ) -> None:
        self.meters, self.vehicles, self.ranges = meters, vehicles, ranges
        self.classes = charger_classes(classes or {})
        hours = [self._hour(START + n * HOUR) for n in range(4)]
        self.hours = pl.concat([of_vehicles for of_vehicles, _ in hours])
        self.fleet_hours = pl.concat([of_fleet for _, of_fleet in hours])

    def _hour(self, start: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
        ac, dc = self.measured(start, start + HOUR)
        window, fed = (start, start + HOUR), links(self.ranges)
        vehicles = vehicle_efficiency(ac, dc, fed, self.classes, *window, SETTINGS).collect()
        unlinked = unlinked_energy(ac, fed, *window).collect()
        return vehicles, fleet_efficiency(vehicles.lazy(), unlinked.lazy(), SETTINGS).collect()

    def measured(self, start: datetime, end: datetime) -> list[pl.LazyFrame]:
        return [
            measured_energy(
                readings(stream, with_context(rows, stream, start, end, SETTINGS)),
                stream,
                start,
                end,
                SETTINGS,
                self.classes,
            )
            .collect()
            .lazy()
            for stream, rows in ((METER, self.meters), (VEHICLE, self.vehicles))
        ]

    def day(self) -> pl.DataFrame:
        # Each hour has resolved its links for itself.
        of_hours = [
            (meter, vehicle, max(since, hour), min(until, hour + HOUR), source)
            for hour in (START + n * HOUR for n in range(4))
            for meter, vehicle, since, until, source in self.ranges
            if since < hour + HOUR and until > hour
        ]
        parts = day_parts(
            devices(METER, self.meters, [meter for meter, *_ in self.ranges]),
            self.hours["vehicle_id"].unique(),
            of_devices(readings(METER, with_context(self.meters, METER, START, END, SETTINGS))),
            of_devices(
                readings(VEHICLE, with_context(self.vehicles, VEHICLE, START, END, SETTINGS))
            ),
            links(of_hours),
            self.classes,
            START,
            END,
            SETTINGS,
        )
        evidence = [
            vehicle_evidence(facts.lazy(), START, END, SETTINGS).collect()
            for facts, _ in (facts_of_window(*part, self.classes, START, END) for part in parts)
        ]
        return vehicle_day(self.hours.lazy(), evidence, START, END, SETTINGS)


def fields(spec: TableSpec, table: pl.DataFrame) -> None:
    schema = pa.schema([column.field() for column in spec.columns])
    assert table.columns == list(spec.names)
    assert table.to_arrow().cast(schema).schema.equals(schema)


@pytest.fixture(autouse=True, scope="module")
def few_devices_at_once() -> Iterator[None]:
    """A day is computed in parts; where it is cut must make no difference."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lake.rollups.day_parts._GROUPS_AT_ONCE", 2)
        yield


# Each example computes four hours and the day.
several = settings(patiently, max_examples=5)


@several
@given(meter_rows(hours=4), vehicle_rows(hours=4), exclusive_links(), charged_at)
def test_a_day_is_what_its_heartbeats_say_in_one_window(
    meters: list[Row], vehicles: list[Row], ranges: list[Range], classes: dict[str, str]
) -> None:
    sample = Sample(meters, vehicles, ranges, classes)
    ac, dc = sample.measured(START, END)
    # Neighbours that say the same are one link, as resolve_links returns them.
    fed = join_adjacent_links(links(ranges)).collect().lazy()
    whole = vehicle_efficiency(ac, dc, fed, sample.classes, START, END, SETTINGS).collect()
    day = sample.day()
    assert day.drop("date", "hours").equals(whole.drop("hour_start"))
    assert day["date"].to_list() == [START.date()] * day.height
    hours = sample.hours.group_by("vehicle_id").len("hours").sort("vehicle_id")
    assert day["hours"].to_list() == hours["hours"].to_list()


@several
@given(meter_rows(hours=4), vehicle_rows(hours=4), exclusive_links())
def test_the_sums_of_a_day_are_those_of_its_hours_to_the_last_bit(
    meters: list[Row], vehicles: list[Row], ranges: list[Range]
) -> None:
    sample = Sample(meters, vehicles, ranges)
    for day in sample.day().iter_rows(named=True):
        hours = sample.hours.filter(vehicle_id=day["vehicle_id"]).to_dicts()
        for name in ("energy_ac_kwh", "energy_dc_kwh"):
            known = [round(hour[name] * 1e9) for hour in hours if hour[name] is not None]
            assert day[name] == (sum(known) / 1e9 if known else None)
        for name in ("data_points_meter", "data_points_vehicle", "resets", "duplicates"):
            assert day[name] == sum(hour[name] for hour in hours)


@several
@given(meter_rows(hours=4), vehicle_rows(hours=4), exclusive_links())
def test_the_fleet_of_a_day_has_all_ac_energy_of_its_hours(
    meters: list[Row], vehicles: list[Row], ranges: list[Range]
) -> None:
    sample = Sample(meters, vehicles, ranges)
    day = fleet_day(sample.day().lazy(), sample.fleet_hours.lazy(), SETTINGS).collect()
    fields(FLEET_EFFICIENCY_DAILY, day)
    (fleet,) = day.to_dicts()
    for name in ("energy_ac_kwh", "unlinked_energy_ac_kwh"):
        assert fleet[name] == sum(round(kwh * 1e9) for kwh in sample.fleet_hours[name]) / 1e9
    assert (fleet["date"], fleet["hours"]) == (START.date(), 4)


def test_a_gap_over_the_full_hour_is_one_gap_of_the_day() -> None:
    rows = [
        {"vehicle_id": "V1", "timestamp": START + timedelta(minutes=minute)}
        | {"kwh_delivered_dc": 0.1, "reading_type": "interval", "duplicates": 0}
        for minute in (*range(0, 40, 2), *range(100, 240, 2))
    ]
    meters = [
        {"meter_id": "M1", "timestamp": START + timedelta(minutes=minute)}
        | {"kwh_consumed_ac": 0.12, "reading_type": "interval", "duplicates": 0}
        for minute in range(0, 240, 2)
    ]
    sample = Sample(meters, rows, [("M1", "V1", START, END, "link")])
    assert sample.hours["longest_gap_seconds"].max() == 40 * 60
    day = sample.day()
    fields(VEHICLE_EFFICIENCY_DAILY, day)
    assert day["longest_gap_seconds"].to_list() == [62 * 60]


def test_a_day_without_hours_has_no_vehicle() -> None:
    day = Sample([], [], []).day()
    fields(VEHICLE_EFFICIENCY_DAILY, day)
    assert day.is_empty()
