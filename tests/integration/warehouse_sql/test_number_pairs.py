"""Pairs by the rule of the trailing number on a real server: who pairs, and that a pair stands."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import LiteralString

import psycopg
import pytest
from psycopg.rows import DictRow, dict_row

from lake import HOUR
from tests.harness.waiting import wait_for
from tests.integration.warehouse_sql.test_devices import (
    HOURS,
    WAITING,
    Connection,
    computed,
    minutes,
    register,
    reopened,
)
from tests.samples import HOUR_10
from warehouse_sql.api_keys import create_key
from warehouse_sql.devices import remove_devices
from warehouse_sql.migrate import migrations
from warehouse_sql.named_queries import query

_HEARD: dict[str, LiteralString] = {
    "meter": "INSERT INTO meter_live_state (meter_id, timestamp, reading_type, received_at)"
    " VALUES (%s, %s, 'interval', now())",
    "vehicle": "INSERT INTO vehicle_live_state (vehicle_id, timestamp, reading_type, received_at)"
    " VALUES (%s, %s, 'interval', now())",
}


@pytest.fixture
def db(database_url: str) -> Iterator[Connection]:
    """A connection to the database of this test."""
    with psycopg.connect(
        database_url, autocommit=True, row_factory=dict_row, options="-c TimeZone=UTC"
    ) as connection:
        yield connection


def hear(db: psycopg.Connection[DictRow], *devices: str, at: datetime = HOUR_10) -> None:
    """Commit first heartbeats, of vehicles where the id begins with a V."""
    with db.transaction():
        for device in devices:
            db.execute(_HEARD["vehicle" if device.startswith("V") else "meter"], [device, at])


def pairs(db: Connection) -> list[tuple[str, str]]:
    rows = db.execute(query("guessed_links"), {"after": "", "limit": 100}).fetchall()
    return [(row["meter_id"], row["vehicle_id"]) for row in rows]


def unpaired(db: Connection) -> set[str]:
    rows = db.execute(query("unpaired_devices"), {"limit": 100}).fetchall()
    assert db.execute(query("count_guessed_links")).fetchall() == [
        {"links": len(pairs(db)), "unpaired": len(rows)}
    ]
    return {row["id"] for row in rows}


def counting(db: Connection, hour: datetime) -> list[tuple[str, str]]:
    """The pairs that count in an hour."""
    rows = db.execute(query("pairs_of_hour"), {"end": hour + HOUR}).fetchall()
    return [(row["meter_id"], row["vehicle_id"]) for row in rows]


@pytest.mark.parametrize(
    ("meter", "vehicle"),
    [
        ("METER001", "VEH-1"),
        ("SN-000917", "VAN917"),
        ("M0", "V000"),
        ("M" + "9" * 60, "V" + "9" * 60),
    ],
)
def test_letters_a_separator_and_one_number_pair(db: Connection, meter: str, vehicle: str) -> None:
    hear(db, meter)
    assert (pairs(db), unpaired(db)) == ([], set())
    hear(db, vehicle)
    assert (pairs(db), unpaired(db)) == ([(meter, vehicle)], set())


@pytest.mark.parametrize(
    ("meter", "vehicle"),
    [
        ("SN-000917", "VIN00KF000917"),
        ("WAL1-000917", "VEH917"),
        ("DE*ABC*E000917", "VEH917"),
        ("M--1", "V1"),
        ("000917", "V917"),
        ("M1", "V2"),
        ("METER", "V"),
        ("1M", "1V"),
        ("M٣", "V٣"),
    ],
)
def test_what_looks_like_a_serial_pairs_with_nobody_and_is_in_nobodys_way(
    db: Connection, meter: str, vehicle: str
) -> None:
    hear(db, meter, vehicle)
    assert (pairs(db), unpaired(db)) == ([], set())
    if vehicle.startswith("VIN"):
        hear(db, "VEH917")
        assert pairs(db) == [(meter, "VEH917")]


def test_a_newcomer_of_the_same_number_changes_no_pair_and_is_told(db: Connection) -> None:
    hear(db, "METER001", "VEH1", "METER2")
    for newcomer in ("VAN1", "GARAGE01", "VEH002"):
        hear(db, newcomer, at=HOUR_10 - timedelta(days=900))
    assert pairs(db) == [("METER001", "VEH1"), ("METER2", "VEH002")]
    assert unpaired(db) == {"VAN1", "GARAGE01"}
    link = "INSERT INTO charging_link (meter_id, vehicle_id, valid) VALUES ('X', 'VAN1', '(,)')"
    db.execute(link.replace("'(,)'", "tstzrange('2026-01-01Z', NULL)").encode())
    assert unpaired(db) == {"GARAGE01"}


def test_several_of_one_number_at_once_pair_with_nobody_until_the_one_too_many_is_removed(
    db: Connection, database_url: str
) -> None:
    hear(db, "METER001", "VEH1", "VAN1")
    assert (pairs(db), unpaired(db)) == ([], {"METER001", "VEH1", "VAN1"})
    register(db, "meter", {"METER001": HOUR_10})
    register(db, "vehicle", {"VEH1": HOUR_10})
    remove_devices(database_url, [("vehicle", "VAN1")])
    assert (pairs(db), unpaired(db)) == ([("METER001", "VEH1")], set())
    assert counting(db, HOUR_10) == []  # as that hour was computed


def test_two_halves_of_a_pair_that_are_committed_at_once_find_each_other(
    db: Connection, database_url: str
) -> None:
    with ThreadPoolExecutor() as threads, psycopg.connect(database_url) as other:
        other.execute(_HEARD["vehicle"], ["VEH1", HOUR_10])
        other.execute(b"SET CONSTRAINTS ALL IMMEDIATE")
        hearing = threads.submit(hear, db, "METER001")
        with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as looking:
            wait_for(lambda: hearing.done() or looking.execute(WAITING).fetchall())
        other.commit()
        hearing.result()
    assert pairs(db) == [("METER001", "VEH1")]


@pytest.mark.parametrize(
    ("prefixes", "expected"),
    [
        (["A", "B"], [("AM3", "AV3")]),
        (["A", "B", None], [("AM3", "AV3")]),
        (["AM", None], [("BM4", "V4")]),
        ([None], [("AM3", "AV3"), ("BM4", "V4")]),
    ],
)
def test_what_different_keys_may_write_never_pairs(
    db: Connection,
    database_url: str,
    prefixes: list[str | None],
    expected: list[tuple[str, str]],
) -> None:
    for n, prefix in enumerate(prefixes):
        create_key(database_url, f"key {n}", ["ingest"], device_prefix=prefix)
    for meter, vehicle in (("AM3", "AV3"), ("BM4", "V4")):
        db.execute(_HEARD["meter"], [meter, HOUR_10])
        db.execute(_HEARD["vehicle"], [vehicle, HOUR_10])
    assert pairs(db) == expected
    assert unpaired(db) == set()


def test_a_pair_counts_in_every_hour_in_which_both_were_heard_whenever_it_was_made(
    db: Connection,
) -> None:
    """Imported history is linked as if it had come at its time."""
    computed(db)
    hear(db, "METER001", "VEH1", at=HOURS[5])
    old = HOURS[0] - timedelta(days=400)
    register(db, "meter", {"METER001": old})
    register(db, "vehicle", {"VEH1": old + HOUR, "VAN1": old})
    assert [counting(db, old + n * HOUR) for n in range(3)] == [[]] + [[("METER001", "VEH1")]] * 2
    assert counting(db, HOURS[5]) == []  # nothing of that week is in the history yet
    register(db, "meter", {"METER001": minutes(130)})
    register(db, "vehicle", {"VEH1": minutes(190)})
    assert reopened(db) == [2, 3, 4, 5]
    assert [bool(counting(db, hour)) for hour in HOURS] == [False] * 3 + [True] * 3


@pytest.mark.usefixtures("next_hour_is_far")
def test_a_place_that_a_removed_device_has_left_is_taken_from_the_next_hour_on(
    db: Connection, database_url: str
) -> None:
    now = db.execute(b"SELECT date_trunc('hour', now()) AS hour").fetchall()[0]["hour"]
    hear(db, "METER001", "VEH1", at=now)
    register(db, "meter", {"METER001": now})
    register(db, "vehicle", {"VEH1": now})
    remove_devices(database_url, [("vehicle", "VEH1")])
    hear(db, "VAN1", at=now)
    register(db, "vehicle", {"VAN1": now})
    assert (pairs(db), unpaired(db)) == ([("METER001", "VAN1")], set())
    assert counting(db, now) == [("METER001", "VEH1")]
    assert counting(db, now + HOUR) == [("METER001", "VAN1")]
    hear(db, "VEH1", at=now)
    assert (pairs(db), unpaired(db)) == ([("METER001", "VAN1")], {"VEH1"})


def test_a_dissolved_pair_counts_in_no_hour_and_is_never_made_again(db: Connection) -> None:
    computed(db)
    hear(db, "METER001", "VEH1")
    register(db, "meter", {"METER001": HOURS[1]})
    register(db, "vehicle", {"VEH1": HOURS[2]})
    reopened(db)
    db.execute(query("reopen_hours_of_pair"), {"meter_id": "METER001"})
    db.execute(query("dissolve_pair"), {"meter_id": "METER001"})
    assert reopened(db) == [2, 3, 4, 5]
    assert counting(db, HOURS[4]) == []
    hear(db, "VAN1")
    assert (pairs(db), unpaired(db)) == ([], {"VAN1"})


def test_an_older_installation_keeps_the_pairs_of_its_last_week_and_opens_what_is_told_anew(
    empty_database: str,
) -> None:
    texts = migrations()
    with psycopg.connect(
        empty_database, autocommit=True, row_factory=dict_row, options="-c TimeZone=UTC"
    ) as db:
        for name, text in texts.items():
            if not name.startswith("0027"):
                db.execute(text.encode())
        this_hour = db.execute(b"SELECT date_trunc('hour', now()) AS hour").fetchall()[0]["hour"]
        gone = this_hour - timedelta(days=100)
        hours = [gone + 30 * n * timedelta(days=1) for n in range(3)] + [this_hour]
        computed(db, hours)
        for stream, heard in (
            ("meter", {"METER001": gone, "METER2": hours[1], "SN-33": hours[2]}),
            ("meter", {"METER001": this_hour}),
            ("vehicle", {"VEH1": gone, "VEH2": hours[1], "TESTVIN00KF033": hours[2]}),
            ("vehicle", {"VAN1": this_hour}),
        ):
            register(db, stream, heard)
        db.execute(b"UPDATE partition_ledger SET published_revision = revision")
        for name, text in texts.items():
            if name.startswith("0027"):
                db.execute(text.encode())
        assert pairs(db) == [("METER001", "VAN1"), ("METER2", "VEH2")]
        assert unpaired(db) == {"VEH1"}
        rows = db.execute(b"SELECT DISTINCT hour FROM unpublished_hour ORDER BY 1").fetchall()
        assert [row["hour"] for row in rows] == [hours[0], hours[2], hours[3]]
