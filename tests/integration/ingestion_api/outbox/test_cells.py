"""Several databases that deliver to one lake.

Whatever dies and whenever: each heartbeat is in the lake once, and the ledger of each database
counts exactly the rows of the lake, whoever has appended them.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from ingestion_api.outbox.flush import STEPS
from lake import HOUR, METER, Lake, rows_by_hour
from pipelines.verify.ledger import count_raw
from tests.harness.outbox import flush_all, put, raw_ids
from tests.harness.postgres import copied_database
from tests.samples import HOUR_10, meter_rows


@pytest.fixture
def other_url(postgres: str, migrated_template: str) -> Iterator[str]:
    """URL of the database of another cell."""
    with copied_database(postgres, migrated_template) as url:
        yield url


class Died(Exception):
    """The end of a process in the middle of a flush."""


def die_at(step: str | None) -> Callable[[str], None]:
    def at_step(reached: str) -> None:
        if reached == step:
            raise Died

    return at_step


def ledger(url: str) -> dict[datetime, int]:
    with psycopg.connect(url) as conn:
        conn.execute("SET timezone = 'UTC'")
        found = conn.execute("SELECT hour, raw_rows FROM partition_ledger WHERE stream = 'meter'")
        return dict(found.fetchall())


def commit(url: str, first: int, count: int, hours: int = 1) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        rows = (
            {"meter_id": f"M{n}", "timestamp": HOUR_10 + n % hours * HOUR}
            for n in range(first, first + count)
        )
        put(conn, METER, meter_rows(*rows))


def test_each_database_counts_what_the_others_append(
    database_url: str, other_url: str, lake: Lake
) -> None:
    commit(database_url, 0, 3)
    flush_all(database_url, lake)
    commit(other_url, 3, 4, hours=2)
    flush_all(other_url, lake)
    assert flush_all(database_url, lake) == 0
    expected = {HOUR_10: 5, HOUR_10 + HOUR: 2}
    assert ledger(database_url) == ledger(other_url) == expected == rows_by_hour(lake, METER)


def test_what_others_append_makes_an_hour_wait(
    database_url: str, other_url: str, lake: Lake
) -> None:
    commit(database_url, 0, 3)
    flush_all(database_url, lake)
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("UPDATE partition_ledger SET compacted_version = raw_version")
        assert conn.execute("SELECT hour FROM dirty_hour").fetchall() == []
        commit(other_url, 3, 1)
        flush_all(other_url, lake)
        flush_all(database_url, lake)
        assert len(conn.execute("SELECT hour FROM dirty_hour").fetchall()) == 1


def test_what_is_not_counted_yet_is_pending_for_verify(
    database_url: str, other_url: str, lake: Lake
) -> None:
    commit(database_url, 0, 3)
    flush_all(database_url, lake)
    commit(other_url, 3, 4)
    flush_all(other_url, lake)
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("SET timezone = 'UTC'")
        with conn.transaction():
            counted = count_raw(conn, lake, METER, {HOUR_10: None})[HOUR_10]
        assert (counted.rows, counted.in_ledger, counted.pending) == (3, 3, 4)
        flush_all(database_url, lake)
        with conn.transaction():
            counted = count_raw(conn, lake, METER, {HOUR_10: None})[HOUR_10]
    assert (counted.rows, counted.in_ledger, counted.pending) == (7, 7, 0)


def test_a_log_that_is_gone_is_made_good_by_a_count(
    database_url: str, other_url: str, lake: Lake
) -> None:
    commit(database_url, 0, 3)
    flush_all(database_url, lake)
    for first in range(3, 6):
        commit(other_url, first, 1)
        flush_all(other_url, lake)
    table = lake.open(METER.raw_table)
    table.create_checkpoint()
    (Path(lake.uri) / METER.raw_table / "_delta_log" / f"{2:020}.json").unlink()
    flush_all(database_url, lake)
    assert ledger(database_url) == {HOUR_10: 6}


@pytest.mark.parametrize("seed", range(8))
def test_every_ledger_is_the_lake_whatever_dies(
    database_url: str, other_url: str, lake: Lake, seed: int
) -> None:
    chance, put_so_far = random.Random(seed), 0
    urls = [database_url, other_url]
    for _ in range(25):
        url = chance.choice(urls)
        if chance.random() < 0.5:
            commit(url, put_so_far, count := chance.randint(1, 60), hours=3)
            put_so_far += count
        else:
            step = chance.choice([None, *STEPS])
            with suppress(Died):
                flush_all(url, lake, die_at(step))
        if chance.random() < 0.1:  # the ledger of one is lost, as with an older backup of it
            with psycopg.connect(url, autocommit=True) as conn:
                flush_all(url, lake)
                conn.execute("DELETE FROM partition_ledger")
                conn.execute("UPDATE outbox_delivery SET identity = 'of another system'")
    for url in (*urls, *urls):
        flush_all(url, lake)
    assert Counter(raw_ids(lake)) == Counter(f"M{n}" for n in range(put_so_far))
    assert ledger(database_url) == ledger(other_url) == rows_by_hour(lake, METER)
