"""The condition of devices over real Postgres and Delta: the list day by day, decisions, reruns."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest

from lake import DAY, METER, Lake
from lake.condition import MAINTENANCE, apply_decisions
from lake.condition.maintenance import DECISIONS
from lake.schema.catalog import CONDITION_TABLES
from lake.schema.device_condition import DEVICE_ANOMALY
from pipelines.automation.jobs import RANGE_END, RANGE_START, range_tags
from pipelines.automation.sensors import outdated_condition
from pipelines.compute.condition import judged_days
from pipelines.report.visits import visits_of_list
from pipelines.report.window import PinnedTables
from tests.harness.charging_year.fleet import charging_year
from tests.harness.charging_year.table import write_sessions
from tests.harness.pipelines import (
    PipelineStack,
    StackTemplate,
    checks,
    copied_stack,
    minutes_of,
    prepared_template,
)
from tests.integration.pipelines.verify.test_verify import Verified
from tests.samples import HOUR_10, meter_rows
from tests.table_samples import put

FIRST, LAST = date(2026, 5, 20), date(2026, 5, 30)
TARIFF = """
tariffs:
  night:
    currency: EUR
    time_zone: UTC
    periods: [{valid_from: 2025-01-01, price_per_kwh: 0.3, bands: [
        {from_hour: 18, to_hour: 6, price_per_kwh: 0.2}]}]
default: night
"""


@pytest.fixture(scope="module")
def year_template(
    postgres: str,
    migrated_template: str,
    empty_lake: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[StackTemplate]:
    """A year of forty vehicles, and the condition of its devices on eleven days of May."""
    folder = tmp_path_factory.mktemp("year")

    def compute(stack: PipelineStack) -> None:
        write_sessions(stack.lake, charging_year(40, 3).sessions)
        assert all(checks(look(stack)).values())

    empty = StackTemplate(postgres, migrated_template, empty_lake)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TARIFF_FILE", str(folder / "tariff.yaml"))
        (folder / "tariff.yaml").write_text(TARIFF)
        with prepared_template(empty, folder / "lake", compute) as made:
            yield made


@pytest.fixture
def looked(year_template: StackTemplate, tmp_path: Path) -> Iterator[PipelineStack]:
    with copied_stack(year_template, tmp_path / "lake") as stack:
        yield stack


def look(stack: PipelineStack, first: date = FIRST, last: date = LAST) -> Any:
    return stack.run("condition", range_tags(f"{first}", f"{last}"))


def day_rows(lake: Lake, name: str, day: date) -> pl.DataFrame:
    return lake.scan(lake.open(name)).filter(pl.col("date") == day).collect()


def decide(stack: PipelineStack, at: datetime, device: Mapping[str, Any], closes: bool) -> None:
    stack.rows(
        b"INSERT INTO maintenance_decision"
        b" (device_kind, device_id, decided_at, decided_by, closes, reason)"
        b" VALUES (%(kind)s, %(id)s, %(at)s, 'kim', %(closes)s, 'mended') RETURNING id",
        kind=device["device_kind"],
        id=device["device_id"],
        at=at,
        closes=closes,
    )


def open_visits(stack: PipelineStack) -> Sequence[Mapping[str, Any]]:
    return stack.rows(
        b"SELECT * FROM mart.maintenance WHERE state = 'open' ORDER BY at_stake_a_year DESC"
    )


def ids(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    return {row["device_id"] for row in rows}


def test_the_list_of_visits_fills_day_by_day_with_reasons_and_money(looked: PipelineStack) -> None:
    visits = looked.table("maintenance_visit")
    days = [FIRST + n * DAY for n in range(11)]
    states = [Counter(visits.filter(pl.col("date") == day)["state"]) for day in days]
    assert states[0].keys() == states[6].keys() == {"waiting"}
    assert states[7]["open"] >= 5
    worst, *others = open_visits(looked)
    assert 1 + len(others) == states[10]["open"]
    assert worst["reason"]
    assert worst["at_stake_a_year"] == pytest.approx(0.25 * worst["at_stake_kwh_a_year"], abs=1e-3)
    assert worst["currency"] == "EUR"
    assert worst["date"] == LAST

    losses = looked.table("session_excess_loss")
    assert losses["session_id"].is_unique().all()
    assert {moment.date() for moment in losses["ends"]} == {*days}
    price = losses["excess_cost"] / losses["excess_loss_kwh"]
    assert set(price.drop_nans().round(2)) == {0.2, 0.3}
    trends = day_rows(looked.lake, "efficiency_trend", LAST)
    assert trends["weekly_level_percent"].list.len().unique().to_list() == [52]
    # The newest week is the last one.
    newest = trends["weekly_level_percent"].list.last()
    assert newest.null_count() < trends.height / 10


def test_a_day_that_is_computed_again_gives_the_same_whenever_it_is(looked: PipelineStack) -> None:
    versions = [looked.lake.open(spec.name).version() for spec in CONDITION_TABLES]
    middle = FIRST + 5 * DAY
    look(looked, middle, LAST)
    look(looked, FIRST, LAST)
    assert [looked.lake.open(spec.name).version() for spec in CONDITION_TABLES] == versions


def test_what_a_person_closes_is_closed_at_once_and_in_the_list_of_its_day(
    looked: PipelineStack,
) -> None:
    first, second, *_ = open_visits(looked)
    morning = datetime(2026, 5, 31, 9, tzinfo=UTC)
    decide(looked, morning, first, closes=True)
    decide(looked, morning, second, closes=True)
    decide(looked, morning + timedelta(hours=1), second, closes=False)
    there = ids(open_visits(looked))
    assert first["device_id"] not in there
    assert second["device_id"] in there

    assert all(checks(look(looked, date(2026, 5, 31), date(2026, 6, 1))).values())
    rows = day_rows(looked.lake, "maintenance_visit", date(2026, 5, 31))
    (row,) = rows.filter(pl.col("device_id") == first["device_id"]).to_dicts()
    assert (row["state"], row["closed_by"], row["closed_reason"]) == ("closed", "kim", "mended")
    assert there <= ids(open_visits(looked)) - {first["device_id"]}
    # An old day that is computed again knows nothing of it.
    look(looked, LAST, date(2026, 6, 1))
    rows = day_rows(looked.lake, "maintenance_visit", LAST)
    assert rows.filter(pl.col("device_id") == first["device_id"])["state"].item() == "open"
    assert there <= ids(open_visits(looked)) - {first["device_id"]}


def test_the_view_shows_what_the_mathematics_makes_of_decisions(looked: PipelineStack) -> None:
    after = datetime(2026, 5, 31, tzinfo=UTC)
    states = ["open", "waiting", "closed", "closed"]
    devices = looked.rows(b"SELECT device_kind, device_id FROM maintenance_visit LIMIT 16")
    assert len(devices) >= 8
    rows = []
    for number, device in enumerate(devices):
        looked.rows(
            b"UPDATE maintenance_visit SET state = %(state)s, closed_by = %(by)s,"
            b" closed_at = %(at)s, closed_reason = %(by)s,"
            b" opened_at = CASE WHEN %(state)s = 'waiting' THEN NULL ELSE since END"
            b" WHERE device_id = %(id)s AND device_kind = %(kind)s RETURNING 1",
            state=states[number % 4],
            by="lee" if number % 4 == 3 else None,
            at=after - DAY if states[number % 4] == "closed" else None,
            id=device["device_id"],
            kind=device["device_kind"],
        )
        for step, closes in enumerate([(), (True,), (False,), (True, False)][number // 4]):
            at = after + timedelta(hours=step)
            decide(looked, at, device, closes)
            rows.append((device["device_kind"], device["device_id"], at, "kim", closes, "mended"))
    decide(looked, after - timedelta(microseconds=1), devices[0], closes=True)  # is in the list
    names = ", ".join(MAINTENANCE).encode()
    order = b" ORDER BY device_kind, device_id"
    listed = frame(looked.rows(b"SELECT " + names + b" FROM maintenance_visit" + order))
    shown = frame(looked.rows(b"SELECT " + names + b" FROM mart.maintenance" + order))
    decisions = pl.DataFrame(rows, schema=DECISIONS, orient="row")
    assert shown.equals(apply_decisions(listed, decisions))


def frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame([tuple(row.values()) for row in rows], schema=MAINTENANCE, orient="row")


def test_a_fleet_with_few_sessions_has_an_empty_list_that_says_so(stack: PipelineStack) -> None:
    write_sessions(stack.lake, charging_year(40, 3).sessions.head(20))
    result = look(stack, FIRST, FIRST)
    assert result.success
    assert open_visits(stack) == []
    (row,) = stack.rows(b"SELECT sessions, first_session_at FROM condition_day")
    assert row["sessions"] == 20
    with psycopg.connect(stack.database_url) as connection:
        assert judged_days(connection) == []


def asked(stack: PipelineStack) -> list[tuple[str, str]]:
    tick = stack.evaluate_sensor(outdated_condition)
    return [
        (request.tags[RANGE_START], request.tags[RANGE_END]) for request in tick.run_requests or []
    ]


def charge(stack: PipelineStack, hour: datetime) -> None:
    stack.deliver(METER, meter_rows(*minutes_of(hour, meter_id="METER001", kwh_consumed_ac=0.1)))


@pytest.mark.usefixtures("next_hour_is_far")
def test_each_night_and_after_late_heartbeats_the_days_from_there_on_are_asked_for(
    stack: PipelineStack,
) -> None:
    assert asked(stack) == []  # nothing was ever computed
    yesterday = (datetime.now(UTC) - timedelta(hours=2)).date() - DAY
    begin = datetime.combine(yesterday - 3 * DAY, time(), UTC)
    charge(stack, begin)
    stack.rows(b"UPDATE partition_ledger SET last_arrival = now() RETURNING 1")
    assert asked(stack) == []  # the hour comes first
    stack.run_hours(begin, begin)
    whole = (f"{begin:%Y-%m-%d}", f"{yesterday}")
    assert asked(stack) == [whole]
    stack.run("condition", range_tags(*whole))
    assert asked(stack) == []

    charge(stack, begin + DAY)
    stack.run_hours(begin + DAY, begin + DAY)
    assert asked(stack) == []  # not yet again
    stack.rows(
        b"UPDATE condition_day SET computed_at = computed_at - interval '7 hours' RETURNING 1"
    )
    # The hour after its midnight tells which sessions of the first day have ended.
    assert asked(stack) == [whole]
    stack.run("condition", range_tags(f"{begin:%Y-%m-%d}", f"{begin:%Y-%m-%d}"))
    # The lists of the days after it follow from it.
    assert asked(stack) == [(f"{begin + DAY:%Y-%m-%d}", f"{yesterday}")]


def test_a_report_names_the_visits_that_are_open_at_its_end(looked: PipelineStack) -> None:
    with psycopg.connect(looked.database_url) as connection:
        days = judged_days(connection)
    assert days == [FIRST + n * DAY for n in range(11)]
    newest = PinnedTables(looked.lake).visits(LAST).filter(pl.col("date") == LAST)
    found = visits_of_list(newest, LAST)
    open_then = {row["device_id"]: row["mending_saves_a_year"] for row in open_visits(looked)}
    assert found.charger_count + found.vehicle_count + found.wrong_count == len(open_then)
    named = [*found.chargers, *found.vehicles, *found.wrong]
    assert {visit.device_id: visit.saves for visit in named}.items() <= open_then.items()


def test_a_damaged_file_is_named_and_repaired_by_having_its_day_looked_at_again(
    computed_template: StackTemplate,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TARIFF_FILE", raising=False)
    with copied_stack(computed_template, tmp_path / "lake") as stack:
        row = {"device_kind": "meter", "device_id": "METER001"}
        put(stack.lake, DEVICE_ANOMALY, HOUR_10.replace(hour=0), row)
        (file,) = stack.lake.open(DEVICE_ANOMALY.name).file_uris()
        Path(file).write_bytes(b"")
        day = HOUR_10.date()
        stack.rows(
            b"INSERT INTO condition_day (day, computed_at, sessions)"
            b" SELECT %(day)s::date + n, now(), 0 FROM generate_series(0, 999) AS n"
            b" WHERE %(day)s::date + n < now()::date RETURNING 1",
            day=day,
        )
        assert asked(stack) == []
        assert {table for _, table in Verified(capsys).findings} == {DEVICE_ANOMALY.name}
        Verified(capsys, "--repair")
        assert stack.table(DEVICE_ANOMALY.name).is_empty()
        assert not stack.rows(b"SELECT FROM unpublished_hour")  # no hour has to do with it
        stack.rows(
            b"UPDATE condition_day SET computed_at = computed_at - interval '7 hours'"
            b" WHERE computed_at > 'epoch' RETURNING 1"
        )
        ((first, _),) = asked(stack)
        assert first == f"{day:%Y-%m-%d}"
