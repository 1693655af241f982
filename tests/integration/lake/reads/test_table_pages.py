"""Pages of a computed table: every row once, newest first, while new hours come."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake import HOUR, Lake
from lake.reads.table_pages import PagePosition, PageQuery, page_position, read_page
from lake.reads.table_reader import TableReader
from lake.schema.device_condition import DEVICE_ANOMALY
from lake.schema.table_spec import TableSpec
from lake.schema.vehicle_efficiency import VEHICLE_EFFICIENCY_DAILY, VEHICLE_EFFICIENCY_HOURLY
from lake.upkeep.archive import archive_day
from tests.samples import HOUR_10
from tests.table_samples import put

MIDNIGHT = HOUR_10.replace(hour=0)
DAY = timedelta(days=1)
CARS = ["a|b", 'quote"d', "ß", "z"]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """An archived day, hours of the next, and three days; nobody was heard in some hours."""
    lake = Lake(str(tmp_path_factory.mktemp("pages") / "lake"))
    lake.create_tables()
    for hour in (0, 1, 2, 7, 23, 24, 25, 30):
        cars = CARS[hour % 3 :]
        rows = [{"vehicle_id": car, "status": ["good", "idle"][hour % 2]} for car in cars]
        put(lake, VEHICLE_EFFICIENCY_HOURLY, MIDNIGHT + hour * HOUR, *rows)
    archive_day(lake, VEHICLE_EFFICIENCY_HOURLY, MIDNIGHT.date())
    for day in range(3):
        rows = [{"vehicle_id": car} for car in CARS[day:]]
        put(lake, VEHICLE_EFFICIENCY_DAILY, MIDNIGHT + day * DAY, *rows)
    return lake


def pages(
    tables: TableReader, spec: TableSpec, question: PageQuery, limit: int
) -> Iterator[pl.DataFrame]:
    after: PagePosition | None = None
    while True:
        asked = PageQuery(question.start, question.end, question.values, after)
        page = read_page(tables.newest_version(spec), asked, limit)
        yield page
        if page.height < limit:
            return
        after = page_position(spec, page.row(-1, named=True))


@settings(max_examples=40)
@given(
    st.integers(-100, 4000),
    st.integers(1, 4000),
    st.integers(1, 9),
    st.sampled_from([None, *CARS]),
    st.lists(st.sampled_from(["good", "idle", "warning"]), unique=True),
    st.booleans(),
)
def test_the_pages_of_a_window_hold_each_of_its_rows_once_and_in_order(
    filled: Lake,
    start_minutes: int,
    minutes: int,
    limit: int,
    car: str | None,
    statuses: list[str],
    is_daily: bool,
) -> None:
    spec = VEHICLE_EFFICIENCY_DAILY if is_daily else VEHICLE_EFFICIENCY_HOURLY
    start = MIDNIGHT + timedelta(minutes=start_minutes)
    end = start + timedelta(minutes=minutes)
    asked = {"vehicle_id": [car] if car else [], "status": statuses}
    values = {name: one_of for name, one_of in asked.items() if one_of}
    found = pl.concat(pages(TableReader(filled), spec, PageQuery(start, end, values), limit))
    rows = filled.scan(filled.open(spec.name)).select(spec.names).collect()
    expected = [
        row
        for row in rows.iter_rows(named=True)
        if start <= page_position(spec, row).time < end
        and all(row[name] in one_of for name, one_of in values.items())
    ]
    expected.sort(key=lambda row: row["vehicle_id"])
    expected.sort(key=lambda row: row[spec.time_column], reverse=True)
    assert found.to_dicts() == expected


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_a_vehicle_and_a_meter_of_one_id_are_two_rows(filled: Lake, limit: int) -> None:
    spec = DEVICE_ANOMALY
    for day in range(2):
        ids = ["A", "A.1", "B"]
        rows = [
            {"device_kind": kind, "device_id": of} for kind in ("meter", "vehicle") for of in ids
        ]
        put(filled, spec, MIDNIGHT + day * DAY, *rows)
    found = pl.concat(
        pages(TableReader(filled), spec, PageQuery(MIDNIGHT, MIDNIGHT + 2 * DAY), limit)
    )
    assert found.select("device_kind", "device_id").rows() == [
        (row["device_kind"], row["device_id"]) for row in (*rows, *rows)
    ]


def test_hours_that_come_between_two_pages_neither_shift_nor_repeat_rows(lake: Lake) -> None:
    spec = VEHICLE_EFFICIENCY_HOURLY
    hours = [MIDNIGHT + n * HOUR for n in range(5)]
    for hour in hours:
        put(lake, spec, hour, {"vehicle_id": "A"}, {"vehicle_id": "B"})
    seen: list[tuple[datetime, str]] = []
    tables, later = TableReader(lake), count(5)
    for page in pages(tables, spec, PageQuery(MIDNIGHT, MIDNIGHT + DAY), 3):
        seen += page.select("hour_start", "vehicle_id").rows()
        put(lake, spec, MIDNIGHT + next(later) * HOUR, {"vehicle_id": "A"})
    assert seen == [(hour, car) for hour in reversed(hours) for car in ("A", "B")]


def test_one_device_of_a_full_day_is_found_without_the_groups_of_the_others(lake: Lake) -> None:
    spec = VEHICLE_EFFICIENCY_HOURLY
    for hour in range(3):
        rows = [{"vehicle_id": f"V{n:05d}"} for n in range(10_000)]
        put(lake, spec, MIDNIGHT + hour * HOUR, *rows)
    archive_day(lake, spec, MIDNIGHT.date())
    (file,) = lake.open(spec.name).file_uris()
    groups = pq.ParquetFile(file)
    assert [groups.metadata.row_group(n).num_rows for n in range(12)] == [2_500] * 12
    assert pl.read_parquet(file, columns=["vehicle_id"])["vehicle_id"].is_sorted()


def test_rows_from_before_a_column_was_added_have_a_null_there(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    lake.create_tables()
    spec = VEHICLE_EFFICIENCY_HOURLY
    older = replace(spec, columns=tuple(c for c in spec.columns if c.name != "charger_class"))
    put(lake, older, MIDNIGHT, {"vehicle_id": "A"})
    put(lake, spec, MIDNIGHT + HOUR, {"vehicle_id": "A", "charger_class": "depot"})
    page = read_page(TableReader(lake).newest_version(spec), PageQuery(MIDNIGHT, MIDNIGHT + DAY), 9)
    assert page["charger_class"].to_list() == ["depot", None]
