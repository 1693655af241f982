"""Links from people, heartbeats and the rule."""

from datetime import datetime, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from lake import VEHICLE, EnergySettings
from lake.energy.links import (
    LINK_COLUMNS,
    claims_of_names,
    contested_meters,
    links_around,
    named_links,
    resolve_links,
)
from tests.unit.energy_recomputation import (
    HOUR_10,
    HOUR_11,
    Row,
    moving_ranges,
    named_meter,
    readings,
    seconds,
)
from tests.unit.energy_samples import METERS, VEHICLES, exclusive_links, naming_rows, patiently

SETTINGS = EnergySettings(_env_file=None)
NO_PAIRS = pl.DataFrame(schema={"meter_id": pl.String, "vehicle_id": pl.String})
TICK = timedelta(microseconds=1)
GAP = timedelta(seconds=SETTINGS.largest_gap_seconds)

Range = tuple[str, str, datetime, datetime, str]


def explicit(*ranges: tuple[str, str, datetime, datetime | None]) -> pl.LazyFrame:
    time = pl.Datetime("us", "UTC")
    schema = {"meter_id": pl.String(), "vehicle_id": pl.String()}
    return pl.LazyFrame(
        list(ranges), schema={**schema, "valid_from": time, "valid_to": time}, orient="row"
    )


def naming(vehicle: str, meter: str | None, *offsets: float) -> list[Row]:
    return [{"vehicle_id": vehicle, "timestamp": seconds(t), "meter_id": meter} for t in offsets]


def resolved(
    rows: list[Row],
    links: pl.LazyFrame | None = None,
    pairs: pl.DataFrame = NO_PAIRS,
    start: datetime = HOUR_10,
    end: datetime = HOUR_11,
) -> list[Range]:
    table = resolve_links(
        explicit() if links is None else links,
        named_links(readings(VEHICLE, rows), SETTINGS),
        pairs.lazy(),
        start,
        end,
    ).collect()
    assert tuple(table.columns) == LINK_COLUMNS
    return table.rows()


def vehicle_at(ranges: list[Range], meter: str, moment: datetime) -> str | None:
    fed = [r[1] for r in ranges if r[0] == meter and r[2] <= moment < r[3]]
    assert len(fed) <= 1, "a meter feeds one vehicle at a time"
    return fed[0] if fed else None


def test_nothing_gives_no_link() -> None:
    assert resolved([]) == []


def test_an_explicit_link_counts_as_it_is_within_the_window() -> None:
    links = explicit(("M1", "V1", seconds(-600), seconds(900)), ("M1", "V2", seconds(900), None))
    assert resolved([], links) == [
        ("M1", "V1", HOUR_10, seconds(900), "link"),
        ("M1", "V2", seconds(900), HOUR_11, "link"),
    ]
    assert resolved([], explicit(("M1", "V1", HOUR_11, None))) == []


def test_a_heartbeat_speaks_for_the_time_since_the_one_before_it() -> None:
    rows = naming("V1", None, 600) + naming("V1", "M1", 660, 720) + naming("V1", None, 1500)
    # Its last word holds for the largest gap: the meter's next reading is about this charge, too.
    assert resolved(rows) == [
        ("M1", "V1", seconds(600) + TICK, seconds(720 + 300) + TICK, "heartbeat")
    ]


def test_after_a_silence_a_heartbeat_speaks_for_the_largest_gap() -> None:
    assert resolved(naming("V1", "M1", 1200)) == [
        ("M1", "V1", seconds(900) + TICK, seconds(1500) + TICK, "heartbeat")
    ]


def test_a_heartbeat_without_a_meter_neither_ends_nor_begins_a_range() -> None:
    rows = naming("V1", "M1", 0, 120, 240, 360) + naming("V1", None, 60, 180, 300)
    ((meter, vehicle, _, valid_to, _),) = resolved(rows)
    assert (meter, vehicle, valid_to) == ("M1", "V1", seconds(660) + TICK)


def test_the_range_of_one_meter_ends_where_the_next_begins() -> None:
    rows = naming("V1", "M1", 0, 60, 120) + naming("V1", "M2", 180, 240)
    assert resolved(rows, end=seconds(240)) == [
        ("M1", "V1", HOUR_10, seconds(120) + TICK, "heartbeat"),
        ("M2", "V1", seconds(120) + TICK, seconds(240), "heartbeat"),
    ]


def test_a_reading_at_the_moment_of_the_naming_heartbeat_belongs_to_it() -> None:
    ranges = resolved(naming("V1", "M1", 0, 60) + naming("V1", "M2", 120))
    assert vehicle_at(ranges, "M1", seconds(60)) == "V1"
    assert vehicle_at(ranges, "M2", seconds(60)) is None
    assert vehicle_at(ranges, "M2", seconds(120)) == "V1"


def test_an_explicit_link_stands_above_heartbeats_of_its_meter_and_of_its_vehicle() -> None:
    every_minute = range(-60, 3660, 60)
    rows = naming("V1", "M2", *every_minute) + naming("V2", "M1", *every_minute)
    links = explicit(("M1", "V1", seconds(600), seconds(1200)))
    assert resolved(rows, links) == [
        ("M1", "V2", HOUR_10, seconds(600), "heartbeat"),
        ("M1", "V1", seconds(600), seconds(1200), "link"),
        ("M1", "V2", seconds(1200), HOUR_11, "heartbeat"),
        ("M2", "V1", HOUR_10, seconds(600), "heartbeat"),
        ("M2", "V1", seconds(1200), HOUR_11, "heartbeat"),
    ]


def test_of_two_vehicles_that_name_one_meter_the_first_by_id_is_credited() -> None:
    every_minute = range(-60, 3660, 60)
    rows = naming("V2", "M1", *every_minute) + naming("V1", "M1", 600, 660, 720)
    rows += naming("V1", None, 540, 780)
    ranges = resolved(rows)
    assert vehicle_at(ranges, "M1", seconds(540)) == "V2"
    assert vehicle_at(ranges, "M1", seconds(600)) == "V1"
    assert vehicle_at(ranges, "M1", seconds(720)) == "V1"
    assert vehicle_at(ranges, "M1", seconds(780)) == "V2"


def test_a_vehicle_that_stands_at_a_meter_is_before_one_that_fell_silent_there() -> None:
    rows = naming("V1", "M1", 0, 60) + naming("V2", None, 120) + naming("V2", "M1", 180, 240)
    ranges = resolved(rows)
    assert vehicle_at(ranges, "M1", seconds(100)) == "V1"
    assert vehicle_at(ranges, "M1", seconds(150)) == "V2"


def test_a_pair_by_rule_counts_for_the_whole_window_unless_a_device_is_linked_otherwise() -> None:
    pairs = pl.DataFrame({"meter_id": ["M1", "M2"], "vehicle_id": ["V1", "V2"]})
    assert resolved([], pairs=pairs) == [
        ("M1", "V1", HOUR_10, HOUR_11, "rule"),
        ("M2", "V2", HOUR_10, HOUR_11, "rule"),
    ]
    linked = explicit(("M1", "V9", HOUR_10, seconds(1)))
    assert [r[:2] for r in resolved([], linked, pairs)] == [("M1", "V9"), ("M2", "V2")]
    named = naming("V2", "M7", 60)
    assert [r[:2] for r in resolved(named, pairs=pairs)] == [("M1", "V1"), ("M7", "V2")]


def charging(vehicle: str, meter: str | None, kwh: float | None, *offsets: float) -> list[Row]:
    return [{**row, "kwh_delivered_dc": kwh} for row in naming(vehicle, meter, *offsets)]


def test_a_parked_car_that_still_names_its_charger_gets_nothing_of_the_next_cars_charge() -> None:
    rows = charging("V1", "M1", 0.2, *range(-60, 601, 60))  # charges until 10:10, then stands
    rows += charging("V1", "M1", 0, *range(660, 3600, 60))
    rows += charging("V2", None, None, *range(0, 1740, 60))
    rows += charging("V2", "M1", 0.2, *range(1800, 3001, 60))
    ranges = resolved(rows)
    for vehicle, moments in (
        ("V1", (0, 600, 601, 1300)),  # alone at the meter, also where it stands
        (None, (1500, 1679)),  # shortly before the other charges
        ("V2", (1741, 1800, 3000, 3200)),
        ("V1", (3301, 3599)),
    ):
        for moment in moments:
            assert vehicle_at(ranges, "M1", seconds(moment)) == vehicle, moment


def test_a_register_that_rises_moves_and_one_that_repeats_itself_does_not() -> None:
    minutes = [*range(-60, 3600, 60)]
    rows: list[Row] = [
        {**row, "reading_type": "register", "kwh_delivered_dc": 5 + n / 10}
        for n, row in enumerate(naming("V2", "M1", *minutes))
    ]
    rows += [
        {**row, "reading_type": "register", "kwh_delivered_dc": 7.5}
        for row in naming("V1", "M1", *minutes)
    ]
    assert {r[1] for r in resolved(rows)} == {"V2"}


def test_a_parked_car_that_is_alone_at_a_meter_keeps_it() -> None:
    ((meter, vehicle, since, until, _),) = resolved(charging("V1", "M1", 0, *range(-60, 3660, 60)))
    assert (meter, vehicle, since, until) == ("M1", "V1", HOUR_10, HOUR_11)


def test_a_name_speaks_for_as_long_as_its_reading_says() -> None:
    every_quarter = [n * timedelta(minutes=15) for n in range(5)]
    slow = pl.LazyFrame(
        [
            ("V1", HOUR_10 + n, "M1", False, HOUR_10 + n - timedelta(minutes=15))
            for n in every_quarter
        ],
        schema={
            "vehicle_id": pl.String,
            "timestamp": pl.Datetime("us", "UTC"),
            "meter_id": pl.String,
            "moves": pl.Boolean,
            "speaks_from": pl.Datetime("us", "UTC"),
        },
        orient="row",
    ).with_columns(speaks_for=pl.lit(timedelta(seconds=1350), pl.Duration("us")))
    claims = claims_of_names(slow)
    found = resolve_links(explicit(), claims, NO_PAIRS.lazy(), HOUR_10, HOUR_11).collect()
    assert found.rows() == [("M1", "V1", HOUR_10, HOUR_11, "heartbeat")]


def test_a_meter_that_several_vehicles_name_at_a_time_is_told_with_the_seconds() -> None:
    rows = naming("V1", "M1", *range(0, 601, 60)) + naming("V2", "M1", *range(300, 901, 60))
    rows += naming("V3", "M2", *range(0, 901, 60))
    claims = named_links(readings(VEHICLE, rows), SETTINGS)
    found = contested_meters(claims, HOUR_10, HOUR_11).collect()
    assert found.rows() == [("M1", ["V1", "V2"], 300.000001)]


@patiently
@given(naming_rows(), exclusive_links(), st.sets(st.integers(0, 3599), max_size=30))
def test_at_every_moment_a_meter_feeds_the_vehicle_of_the_definition(
    rows: list[Row], ranges: list[Range], offsets: set[int]
) -> None:
    result = resolved(rows, explicit(*(r[:4] for r in ranges)))
    moments = {seconds(offset) for offset in offsets}
    moments |= {row["timestamp"] for row in rows if HOUR_10 <= row["timestamp"] < HOUR_11}
    moving_ones = {v: _moving(rows, v, ranges) for v in VEHICLES}
    moving_at = {
        meter: {v: [(a, b) for m, a, b in found if m == meter] for v, found in moving_ones.items()}
        for meter in METERS
    }
    for moment in moments:
        linked = [r for r in ranges if r[2] <= moment < r[3]]
        claims = {
            vehicle: claim
            for vehicle in VEHICLES
            if vehicle not in {r[1] for r in linked}
            and (claim := named_meter(rows, vehicle, moment, SETTINGS))
        }
        for meter in METERS:
            by_link = [r[1] for r in linked if r[0] == meter]
            moving = moving_at[meter]
            named = [
                (not is_moving, not sure, v)
                for v, (m, sure) in claims.items()
                if m == meter
                for is_moving in [any(a < moment <= b for a, b in moving[v])]
                if is_moving
                or not any(
                    a - GAP < moment <= b + GAP for w in VEHICLES if w != v for a, b in moving[w]
                )
            ]
            expected = by_link[0] if by_link else min(named)[2] if named else None
            assert vehicle_at(result, meter, moment) == expected


def _moving(
    rows: list[Row], vehicle: str, links: list[Range]
) -> list[tuple[str, datetime, datetime]]:
    """When a vehicle's energy moves at the meter that it names, while nobody has linked it."""
    left = moving_ranges(rows, vehicle, SETTINGS)
    for _, linked, since, until, _ in links:
        if linked == vehicle:
            parts = [
                part
                for m, a, b in left
                for part in ((m, a, min(b, since - TICK)), (m, max(a, until - TICK), b))
            ]
            left = [part for part in parts if part[1] < part[2]]
    return left


@patiently
@given(naming_rows(hours=2))
def test_the_links_of_an_hour_are_those_of_a_longer_window(rows: list[Row]) -> None:
    """Given the heartbeats of twice the largest gap on both sides of the hour.

    What moves keeps off others for as long as its name holds.
    """
    end = HOUR_11 + timedelta(hours=1)
    whole = resolved(rows, end=end)
    for start in (HOUR_10, HOUR_11):
        until = start + timedelta(hours=1)
        known = [r for r in rows if start - 2 * GAP <= r["timestamp"] <= until + 2 * GAP]
        cut = [(*r[:2], max(r[2], start), min(r[3], until), r[4]) for r in whole]
        assert resolved(known, start=start, end=until) == [r for r in cut if r[2] < r[3]]


def test_links_reach_a_day_to_either_side_and_a_pair_ends_where_another_link_begins() -> None:
    pairs = pl.LazyFrame({"meter_id": ["M1", "M2", "M3"], "vehicle_id": ["V1", "V2", "V3"]})
    day, later = timedelta(days=1), HOUR_11 + timedelta(hours=5)
    links = explicit(
        ("M1", "V9", later, None),  # says nothing of the hour, and the pair ends with it
        ("M2", "V8", HOUR_10 - 2 * day, HOUR_10 - timedelta(hours=2)),
        ("M3", "V7", seconds(600), seconds(900)),  # of the hour, so there is no pair
    )
    names = named_links(readings(VEHICLE, []), SETTINGS)
    assert links_around(links, names, pairs, HOUR_10, HOUR_11).collect().rows() == [
        ("M1", "V1", HOUR_10 - day, later, "rule"),
        ("M1", "V9", later, HOUR_11 + day, "link"),
        ("M2", "V8", HOUR_10 - day, HOUR_10 - timedelta(hours=2), "link"),
        ("M2", "V2", HOUR_10 - timedelta(hours=2), HOUR_11 + day, "rule"),
        ("M3", "V7", seconds(600), seconds(900), "link"),
    ]


def test_a_name_of_a_vehicle_that_sends_each_quarter_of_an_hour_holds_from_one_to_the_next() -> (
    None
):
    rows: list[Row] = [
        {"vehicle_id": "V1", "timestamp": seconds(60 * minute), "meter_id": "M1"}
        for minute in (7, 22, 37, 52)
    ]
    assert resolved(rows) == [("M1", "V1", HOUR_10, HOUR_11, "heartbeat")]
