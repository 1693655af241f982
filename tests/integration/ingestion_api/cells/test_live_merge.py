"""Live state and named links of another database, taken in here.

The newest heartbeat of a device counts, whoever brought it, and none is missed, however long its
transaction took.
"""

import random
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
import pytest
from psycopg.rows import dict_row

from ingestion_api.cells import live_merge
from ingestion_api.cells.live_merge import LiveMerge
from lake import METER, VEHICLE
from tests.harness.outbox import store
from tests.harness.postgres import copied_database
from tests.samples import HOUR_10, meter_rows, vehicle_rows
from warehouse_sql.named_queries import query

_STATES: Final = {
    "meter": b'SELECT meter_id AS id, "timestamp" AS at FROM meter_live_state',
    "vehicle": b'SELECT vehicle_id AS id, "timestamp" AS at FROM vehicle_live_state',
}


@pytest.fixture
def there(postgres: str, migrated_template: str) -> Iterator[str]:
    """URL of the database of a cell."""
    with copied_database(postgres, migrated_template) as url:
        yield url


@pytest.fixture
def here(database_url: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A connection to this database, as a leased worker has."""
    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as conn:
        conn.execute(query("keep_cells"), {"cells": ["west"]})
        yield conn


@pytest.fixture
def west(there: str, here: psycopg.Connection[dict[str, Any]]) -> Iterator[LiveMerge]:
    merge = LiveMerge("west", there, 1e9)
    merge.begin(here)
    yield merge
    merge.close()


def states(conn: psycopg.Connection[Any], kind: str) -> dict[str, datetime]:
    """Event time of each device's state."""
    with conn.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(_STATES[kind]).fetchall()
    return {row["id"]: row["at"] for row in found}


@pytest.mark.parametrize("seed", range(5))
def test_this_database_has_the_newest_of_both(
    there: str,
    here: psycopg.Connection[dict[str, Any]],
    west: LiveMerge,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    """Transactions of the cell stay open over merges, and each statement has a few rows only."""
    monkeypatch.setattr(live_merge, "_ROWS", 3)
    chance, newest = random.Random(seed), dict[str, datetime]()
    with ExitStack() as stack:
        cells = [stack.enter_context(psycopg.connect(there)) for _ in range(3)]
        open_writes: list[dict[str, datetime]] = [{} for _ in cells]

        def commit(n: int) -> None:
            cells[n].commit()
            for device, at in open_writes[n].items():
                newest[device] = max(newest.get(device, at), at)
            open_writes[n].clear()

        for _ in range(80):
            n = chance.randrange(len(cells))
            at = HOUR_10 + timedelta(seconds=chance.randrange(1000))
            # Each transaction has devices of its own, and some that this database hears as well.
            device = f"M{n}-{chance.randrange(15)}"
            store(cells[n], METER, meter_rows({"meter_id": device, "timestamp": at}))
            open_writes[n][device] = max(open_writes[n].get(device, at), at)
            if chance.random() < 0.2:
                earlier = at - timedelta(seconds=chance.randrange(-100, 100))
                store(here, METER, meter_rows({"meter_id": device, "timestamp": earlier}))
                newest[device] = max(newest.get(device, earlier), earlier)
            if chance.random() < 0.3:
                commit(n)
            if chance.random() < 0.4:
                west.merge(here)
                assert states(here, "meter") == newest
        for n in range(len(cells)):
            commit(n)
        west.merge(here)
        assert states(here, "meter") == newest


def test_only_what_has_changed_is_read_again(
    there: str, here: psycopg.Connection[dict[str, Any]], west: LiveMerge
) -> None:
    with psycopg.connect(there, autocommit=True) as conn:
        store(conn, VEHICLE, vehicle_rows({"vehicle_id": "V1"}, {"vehicle_id": "V2"}))
        west.merge(here)
        assert set(states(here, "vehicle")) == {"V1", "V2"}
        here.execute("DELETE FROM vehicle_live_state")
        later = HOUR_10 + timedelta(minutes=1)
        store(conn, VEHICLE, vehicle_rows({"vehicle_id": "V2", "timestamp": later}))
        west.merge(here)
    assert set(states(here, "vehicle")) == {"V2"}


@pytest.mark.parametrize(
    "restored",
    [
        b"UPDATE cell SET identity = 'of another timeline'",
        b"UPDATE cell SET horizon = horizon + 1000000",
    ],
)
def test_a_restored_cell_is_read_from_the_beginning(
    there: str, here: psycopg.Connection[dict[str, Any]], west: LiveMerge, restored: bytes
) -> None:
    with psycopg.connect(there, autocommit=True) as conn:
        store(conn, METER, meter_rows({"meter_id": "M1"}))
    west.merge(here)
    here.execute("DELETE FROM meter_live_state")
    here.execute(restored)
    west.merge(here)
    assert set(states(here, "meter")) == {"M1"}


def test_a_pair_that_is_named_there_is_linked_here(
    there: str, here: psycopg.Connection[dict[str, Any]], west: LiveMerge
) -> None:
    def named() -> list[tuple[Any, ...]]:
        rows = here.execute("SELECT * FROM named_link ORDER BY first_named_at").fetchall()
        return [
            (r["vehicle_id"], r["meter_id"], r["first_named_at"], r["removed_at"]) for r in rows
        ]

    def name(at: Any) -> None:
        row = {"vehicle_id": "V1", "meter_id": "M1", "timestamp": at}
        with psycopg.connect(there, autocommit=True) as conn:
            store(conn, VEHICLE, vehicle_rows(row))

    name(HOUR_10)
    west.merge(here)
    assert named() == [("V1", "M1", HOUR_10, None)]
    removed = HOUR_10 + timedelta(minutes=5)
    here.execute("UPDATE named_link SET removed_at = %s", (removed,))
    name(HOUR_10 + timedelta(minutes=6))
    west.merge(here)
    assert named() == [("V1", "M1", HOUR_10, None)]


def test_a_device_that_was_removed_here_stays_so_until_it_is_heard_again(
    there: str, here: psycopg.Connection[dict[str, Any]], west: LiveMerge
) -> None:
    with psycopg.connect(there, autocommit=True) as conn:
        store(conn, METER, meter_rows({"meter_id": "M1"}, {"meter_id": "M2"}))
        west.merge(here)
        here.execute("DELETE FROM meter_live_state WHERE meter_id = 'M1'")
        here.execute(
            "INSERT INTO device (stream, device_id, removed_at) VALUES ('meter', 'M1', %s)",
            (meter_rows({})["received_at"][0].as_py(),),
        )
        here.execute("UPDATE cell SET identity = 'of another timeline'")
        west.merge(here)
        assert set(states(here, "meter")) == {"M2"}
        later = HOUR_10 + timedelta(minutes=1)
        row = {"meter_id": "M1", "timestamp": later, "received_at": HOUR_10 + timedelta(hours=2)}
        store(conn, METER, meter_rows(row))
        west.merge(here)
    assert set(states(here, "meter")) == {"M1", "M2"}


def seen(conn: psycopg.Connection[dict[str, Any]]) -> bool:
    (cell,) = conn.execute("SELECT is_seen FROM cell_state").fetchall()
    return bool(cell["is_seen"])


def test_a_cell_is_seen_as_long_as_its_collectors_watch(
    there: str, here: psycopg.Connection[dict[str, Any]], west: LiveMerge
) -> None:
    with psycopg.connect(there, autocommit=True) as conn:
        conn.execute("UPDATE alert_progress SET looked_at = now()")
        west.merge(here)
        assert seen(here)
        conn.execute("UPDATE alert_progress SET looked_at = now() - interval '2 minutes'")
        west.merge(here)
        assert not seen(here)


def test_a_cell_that_hangs_is_let_go_and_read_when_it_goes_on(
    there: str,
    here: psycopg.Connection[dict[str, Any]],
    west: LiveMerge,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_merge, "_PATIENCE_SECONDS", 0.3)
    with psycopg.connect(there) as conn:
        store(conn, METER, meter_rows({"meter_id": "M1"}))
        conn.execute("LOCK TABLE meter_live_state")
        west.merge(here)
        assert states(here, "meter") == {}
    monkeypatch.setattr(live_merge, "_PATIENCE_SECONDS", 60)
    west.merge(here)
    assert set(states(here, "meter")) == {"M1"}


def test_a_cell_that_is_away_or_is_this_database_changes_nothing(
    database_url: str, here: psycopg.Connection[dict[str, Any]]
) -> None:
    for url in ("postgresql://nobody@127.0.0.1:1/nothing", database_url):
        merge = LiveMerge("west", url, 1e9)
        merge.merge(here)
        merge.close()
    assert here.execute("SELECT identity, horizon FROM cell").fetchall() == [
        {"identity": None, "horizon": None}
    ]
