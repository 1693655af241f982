"""Refused records are kept for the operator, whatever a flood or the database does."""

import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from ingestion_api.database.pool import read_pool
from ingestion_api.observability.metrics import REGISTRY
from ingestion_api.rejections.recorder import Rejection, RejectionRecorder
from ingestion_api.rejections.store import RejectionStore, Row
from ingestion_api.rest.problems import add_problem_handlers
from ingestion_api.routes import rejections
from ingestion_api.services import services_of
from ingestion_api.settings import CollectorSettings
from warehouse_sql.named_queries import query

PAGES = "/v1/rejections"


def rejection(device: object = "METER001", number: int = 0, **fields: Any) -> Rejection:
    """A rejection with `number` in its record."""
    values: dict[str, Any] = {
        "stream": "meter",
        "field": "voltage",
        "code": "out_of_range",
        "reason": "must be greater than or equal to 0",
        "record": {"meterId": device, "voltage": -1, "number": number},
        "sender": "192.0.2.1",
        "request_id": "request-1",
    }
    return Rejection(device=device, **{**values, **fields})


def log_of(database_url: str, **settings: Any) -> RejectionRecorder:
    """A log that is not started yet."""
    return RejectionRecorder(database_url, CollectorSettings(_env_file=None, **settings))


def run(
    database_url: str, use: Callable[[RejectionRecorder], Awaitable[None]], **settings: Any
) -> float:
    """Use a log from its start to its stop; returns the seconds that the stop took."""

    async def main() -> float:
        rejection_log = log_of(database_url, **settings)
        await rejection_log.start()
        try:
            await use(rejection_log)
        finally:
            started = time.monotonic()
            await asyncio.wait_for(rejection_log.stop(), 30)
        return time.monotonic() - started

    return asyncio.run(main())


def note(database_url: str, *noted: Rejection, **settings: Any) -> None:
    """Note them, and stop."""

    async def use(rejection_log: RejectionRecorder) -> None:
        rejection_log.record(noted)

    run(database_url, use, **settings)


def sql(database_url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url, autocommit=True) as conn:
        cursor = conn.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def numbers(database_url: str, device: str = "METER001") -> list[int]:
    """Numbers of the stored rejections of a device, oldest first."""
    rows = sql(
        database_url,
        f"SELECT record::json ->> 'number' FROM rejection WHERE device = '{device}'"  # noqa: S608
        " ORDER BY received_at, id",
    )
    return [int(number) for (number,) in rows]


def stored(database_url: str) -> int:
    return int(sql(database_url, "SELECT count(*) FROM rejection")[0][0])


def counted(metric: str, **labels: str) -> float:
    """Value of a metric; it counts over all tests of the process."""
    return REGISTRY.get_sample_value(metric, labels) or 0.0


def dropped() -> float:
    found = re.findall(
        r"^wattlake_rejections_dropped_total\{.*\} (\S+)$",
        generate_latest(REGISTRY).decode(),
        re.MULTILINE,
    )
    return sum(float(value) for value in found)


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + 30
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.02)


@contextmanager
def database_away(postgres: str, database_url: str) -> Iterator[None]:
    """Nobody can connect to the database, and nobody is connected."""
    name = database_url.rsplit("/", 1)[1]
    sql(postgres, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    sql(
        postgres,
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'",  # noqa: S608
    )
    yield
    sql(postgres, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def test_the_operator_reads_what_was_refused_from_whom_when_and_why(database_url: str) -> None:
    before = datetime.now(UTC)
    note(database_url, rejection(number=7))
    (found,) = get(database_url)["rejections"]
    assert len(found.pop("id")) == 36
    assert before <= datetime.fromisoformat(found.pop("receivedAt")) <= datetime.now(UTC)
    assert found == {
        "stream": "meter",
        "device": "METER001",
        "field": "voltage",
        "code": "out_of_range",
        "reason": "must be greater than or equal to 0",
        "record": '{"meterId":"METER001","voltage":-1,"number":7}',
        "sender": "192.0.2.1",
        "requestId": "request-1",
    }


def test_a_rejection_can_be_read_seconds_after_it_was_noted(database_url: str) -> None:
    async def use(rejection_log: RejectionRecorder) -> None:
        rejection_log.record([rejection(number=0), rejection(number=1)])
        await until(lambda: stored(database_url) == 2)
        rejection_log.record([rejection(number=2)])
        await until(lambda: stored(database_url) == 3)

    run(database_url, use)
    assert numbers(database_url) == [0, 1, 2]


def test_the_newest_of_each_device_stay(database_url: str) -> None:
    for start in range(0, 12, 3):
        noted = [
            rejection(device, number)
            for number in range(start, start + 3)
            for device in ("METER001", "METER002")
        ]
        note(database_url, *noted, rejections_per_device=5)
    note(database_url, rejection("METER002", 12), rejections_per_device=5)
    assert numbers(database_url, "METER001") == [7, 8, 9, 10, 11]
    assert numbers(database_url, "METER002") == [8, 9, 10, 11, 12]


def test_records_without_an_id_are_bounded_by_their_sender(database_url: str) -> None:
    for _ in range(2):
        noted = [
            rejection(None, sender=sender, code="missing_field")
            for sender in ("192.0.2.1", "192.0.2.2")
            for _ in range(3)
        ]
        note(database_url, *noted, rejections_per_device=4)
    rows = sql(database_url, "SELECT sender FROM rejection WHERE device IS NULL")
    assert Counter(sender for (sender,) in rows) == {"192.0.2.1": 4, "192.0.2.2": 4}


def test_invented_ids_do_not_fill_the_disk(database_url: str) -> None:
    for batch in range(4):
        noted = [rejection(f"M{batch}-{number}") for number in range(40)]
        note(database_url, *noted, rejections_total=50)
    rows = sql(database_url, "SELECT device FROM rejection ORDER BY received_at DESC")
    assert [device for (device,) in rows][:2] == ["M3-39", "M3-38"]
    assert len(rows) == 50


def test_old_rejections_are_forgotten_although_no_new_ones_come(database_url: str) -> None:
    note(database_url, rejection("OLD"), rejection("NEW"))
    sql(
        database_url,
        "UPDATE rejection SET received_at = now() - interval '31 days' WHERE device = 'OLD'",
    )
    note(database_url)
    assert sql(database_url, "SELECT device FROM rejection") == [("NEW",)]


def test_what_was_refused_while_a_clock_was_ahead_is_not_the_newest(database_url: str) -> None:
    settings = {"rejections_per_device": 2}
    note(database_url, rejection(number=1), rejection(number=2), **settings)
    sql(database_url, "UPDATE rejection SET received_at = received_at + interval '3 days'")
    for number in (3, 4):
        note(database_url, rejection(number=number), **settings)
    assert numbers(database_url) == [3, 4]


def test_the_times_of_rejections_follow_a_clock_that_was_far_ahead(database_url: str) -> None:
    rejection_log, now = log_of(database_url), datetime.now(UTC)
    assert rejection_log._time_after(now + timedelta(days=3)) < now + timedelta(minutes=1)
    ahead = now + timedelta(minutes=2)
    assert rejection_log._time_after(ahead) == ahead + timedelta(microseconds=1)


def test_several_collectors_keep_the_bounds_together(database_url: str) -> None:
    devices = [f"M{number}" for number in range(40)]
    settings = {"rejections_per_device": 3, "rejections_total": 150}

    async def collector(order: list[str]) -> None:
        for _ in range(8):  # a new log each time, which does not wait a second for its write
            rejection_log = log_of(database_url, **settings)
            rejection_log.record(rejection(device) for device in order for _ in range(2))
            rejection_log.record(rejection(os.urandom(4).hex(), code="bad_id") for _ in range(20))
            await rejection_log.start()
            await rejection_log.stop()

    async def main() -> None:
        await asyncio.gather(collector(devices), collector(devices[::-1]), collector(devices))

    before = dropped()
    with capture_logs() as lines:
        asyncio.run(main())
    assert lines == []  # no deadlock, no time-out
    assert dropped() == before
    of_origins = sql(database_url, "SELECT count(*) FROM rejection GROUP BY origin")
    assert max(of_origins) == (3,)
    assert stored(database_url) == 150


def test_a_write_that_is_repeated_counts_once(database_url: str) -> None:
    note(database_url, rejection())
    with psycopg.connect(database_url) as conn:
        columns = conn.execute(
            b"SELECT id, received_at, stream, device, field, code, reason, record, sender,"
            b" request_id FROM rejection"
        ).fetchall()
        conn.execute(query("insert_rejections"), [[value] for value in columns[0]])
    assert stored(database_url) == 1


def test_a_database_that_was_away_gets_the_newest_and_the_loss_is_told_once(
    postgres: str, database_url: str
) -> None:
    lost = counted("wattlake_rejections_dropped_total", cause="database")

    async def use(rejection_log: RejectionRecorder) -> None:
        rejection_log.record([rejection("BEFORE")])
        await until(lambda: stored(database_url) == 1)
        with database_away(postgres, database_url):
            for number in range(60):  # six times what a second may keep
                rejection_log._second_ends = 0  # a second later
                rejection_log.record([rejection(f"M{number}", number)])
            await until(lambda: any("can't be stored" in line["event"] for line in lines))
            assert len(rejection_log._held) == 20
        await until(lambda: stored(database_url) == 21)

    with capture_logs() as lines:
        run(database_url, use, rejections_per_second=2)
    found = sql(database_url, "SELECT device FROM rejection ORDER BY received_at")
    assert [device for (device,) in found] == ["BEFORE", *(f"M{n}" for n in range(40, 60))]
    assert counted("wattlake_rejections_dropped_total", cause="database") == lost + 40
    assert Counter(line["event"] for line in lines) == {
        "rejections are counted but not kept": 1,
        "rejections can't be stored; the newest wait": 1,
        "rejections are stored again": 1,
    }


def test_a_stop_while_the_database_is_away_ends_and_tells_what_it_gives_up(
    postgres: str, database_url: str
) -> None:
    lost = counted("wattlake_rejections_dropped_total", cause="database")
    with database_away(postgres, database_url), capture_logs() as lines:

        async def use(rejection_log: RejectionRecorder) -> None:
            rejection_log.record(rejection(number=number) for number in range(3))

        assert run(database_url, use) < 20
    assert counted("wattlake_rejections_dropped_total", cause="database") == lost + 3
    assert "rejections are counted but not kept" in [line["event"] for line in lines]


def test_a_stop_does_not_wait_for_a_database_that_hangs(database_url: str) -> None:
    with psycopg.connect(database_url) as other:
        other.execute(query("lock_rejections"))

        async def use(rejection_log: RejectionRecorder) -> None:
            rejection_log.record([rejection()])

        assert run(database_url, use) < 20  # it may wait for five
    assert stored(database_url) == 0


def test_another_collectors_lock_only_delays(database_url: str) -> None:
    async def use(rejection_log: RejectionRecorder) -> None:
        with psycopg.connect(database_url) as other:
            other.execute(query("lock_rejections"))
            rejection_log.record([rejection()])
            waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            await until(lambda: sql(database_url, waiting))
        await until(lambda: stored(database_url) == 1)

    run(database_url, use)


def test_a_flood_costs_little_and_every_reason_is_counted(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flood, others, written = 200_000, 40, 0
    write = RejectionStore.write

    async def counting(store: RejectionStore, rows: Sequence[Row]) -> None:
        nonlocal written
        written += len(rows)
        await write(store, rows)

    monkeypatch.setattr(RejectionStore, "write", counting)
    labels = {"stream": "meter", "reason": "in_the_future"}
    before, lost = counted("wattlake_rejects_total", **labels), dropped()
    seconds: list[float] = []

    async def use(rejection_log: RejectionRecorder) -> None:
        noisy = [rejection("NOISY", code="in_the_future")] * 1000
        started = time.process_time()
        for batch in range(flood // 1000):
            rejection_log.record(noisy)
            if batch < others:
                rejection_log.record([rejection(f"QUIET{batch}", code="in_the_future")])
        seconds.append(time.process_time() - started)
        assert len(rejection_log._held) <= 1000

    run(database_url, use, rejections_per_second=100)
    assert counted("wattlake_rejects_total", **labels) == before + flood + others
    # In every second that the flood takes, 20 of it are written and take the place of older ones.
    assert written + dropped() - lost == flood + others
    assert stored(database_url) == 20 + others <= written <= 100 * (1 + int(seconds[0]) + 10)
    quiet = sql(database_url, "SELECT count(*) FROM rejection WHERE device LIKE 'QUIET%'")
    assert quiet == [(others,)]
    assert seconds[0] < flood * 10e-6


def test_a_flood_of_invented_ids_takes_no_more_than_its_share(database_url: str) -> None:
    async def use(rejection_log: RejectionRecorder) -> None:
        rejection_log.record(rejection(f"M{number}") for number in range(50_000))
        assert len(rejection_log._held) == 50

    with capture_logs() as lines:
        run(database_url, use, rejections_per_second=50)
    assert stored(database_url) == 50
    assert [line["cause"] for line in lines] == ["rate"]


@pytest.mark.parametrize(
    ("device", "spelling"),
    [
        ("a\x00b", "a\\x00b"),
        ("\ud800", "\\ud800"),
        ("'; DROP TABLE rejection; --", "'; DROP TABLE rejection; --"),
        ("\u202eM1\x1b[2J", "\\u202eM1\\x1b[2J"),
        ("x" * 1000, "x" * 64),
        ("", ""),
        (12.5, "12.5"),
        ({"a": ["\x00"]}, '{"a":["\\u0000"]}'),
    ],
)
def test_hostile_text_is_stored_shown_and_found(
    database_url: str, device: object, spelling: str
) -> None:
    hostile = "\x00\ud800\u202e\x1b[2J\n{}%s'" + "\U0001f4a9" * 5000
    noted = rejection(
        device,
        field=hostile,
        reason=hostile,
        record={"meterId": device, hostile: hostile},
        sender=hostile,
        request_id=hostile,
    )
    note(database_url, noted)
    (found,) = get(database_url, device=spelling)["rejections"]
    assert found["device"] == spelling
    assert len(found["record"]) == 2000
    assert all(str(value).isascii() for value in found.values())
    if isinstance(device, str) and device != "\ud800":  # which no URL can say
        assert get(database_url, device=device)["rejections"] == [found]


@contextmanager
def client(database_url: str) -> Iterator[Callable[..., Awaitable[httpx.Response]]]:
    """GET of the rejections of this database."""
    app = FastAPI()
    app.include_router(rejections.router)
    add_problem_handlers(app, 1)

    async def ask(**parameters: Any) -> httpx.Response:
        async with read_pool(database_url, 1) as pool:
            services = SimpleNamespace(pool=pool, now=lambda: datetime.now(UTC))
            app.dependency_overrides[services_of] = lambda: services
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
                return await http.get(PAGES, params=parameters)

    yield ask


def ask(database_url: str, **parameters: Any) -> httpx.Response:
    with client(database_url) as get_page:
        return asyncio.run(get_page(**parameters))  # type: ignore[arg-type]


def get(database_url: str, **parameters: Any) -> dict[str, Any]:
    answer = ask(database_url, **parameters)
    assert answer.status_code == 200, answer.text
    value: dict[str, Any] = answer.json()
    return value


def test_the_listing_is_newest_first_and_filters(database_url: str) -> None:
    note(
        database_url,
        rejection("M1", 1),
        rejection("M1", 2, code="missing_field", field="timestamp"),
        rejection("V1", 3, stream="vehicle"),
        rejection("V1", 4, stream="vehicle", code="too_old"),
        rejection(None, 5, stream=None, code="unknown_kind", field=None),
    )
    every = get(database_url)["rejections"]

    def found(**filters: str) -> list[int]:
        page = get(database_url, **filters)["rejections"]
        return [int(one["record"].rpartition(":")[2][:-1]) for one in page]

    assert found() == [5, 4, 3, 2, 1]
    assert found(device="M1") == [2, 1]
    assert found(stream="vehicle") == [4, 3]
    assert found(code="out_of_range") == [3, 1]
    assert found(device="V1", code="too_old", stream="vehicle") == [4]
    assert found(since=every[1]["receivedAt"]) == [5, 4]
    assert found(device="none such") == []


def test_pages_repeat_and_skip_nothing_while_new_rejections_come(database_url: str) -> None:
    note(database_url, *(rejection(f"M{number}") for number in range(25)))
    seen, cursor, new = [], None, 0
    while True:
        page = get(database_url, limit=4, **({"cursor": cursor} if cursor else {}))
        assert len(page["rejections"]) <= 4
        seen += [one["device"] for one in page["rejections"]]
        note(database_url, rejection(f"NEW{new}"))
        new += 1
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert seen == [f"M{number}" for number in reversed(range(25))]
    assert new == 7


@pytest.mark.parametrize(
    "parameters",
    [
        {"cursor": "x"},
        {"cursor": "\x00"},
        {"cursor": "ä"},
        {"cursor": "MTIz"},
        {"cursor": "OTk5OTk5OTk5OTk5OTk5OTk5OTk5IDA="},
        {"limit": "0"},
        {"limit": "1001"},
        {"stream": "charger"},
        {"stream": "meter\x00"},
        {"code": "\x00"},
        {"code": "Out of range"},
        {"since": "2026-01-01T00:00:00"},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"since": "\x00"},
    ],
)
def test_a_parameter_that_is_none_is_refused_with_a_hint(
    database_url: str, parameters: dict[str, str]
) -> None:
    answer = ask(database_url, **parameters)
    assert answer.status_code == 422
    assert next(iter(parameters)) in answer.json()["detail"]
