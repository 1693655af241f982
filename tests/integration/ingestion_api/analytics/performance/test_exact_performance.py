"""The performance of a vehicle is the plain sum of its heartbeats, whatever happens meanwhile."""

import random
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake import (
    HOUR,
    STREAMS,
    VEHICLE,
    Lake,
    compact_hour,
    hour_of,
    hours_between,
)
from tests.harness.collector import Collector, collector_of_module
from tests.harness.heartbeats import device
from tests.harness.waiting import wait_for
from warehouse_sql.named_queries import query

# Flushes and indexes all the time; and so little memory that what is kept is dropped as well.
api = collector_of_module(FLUSH_SECONDS="0.05", ANSWER_CACHE_BYTES="100000", INDEX_SECONDS="0.05")

MINUTES = 150
BATCHES_AN_ANSWER = 3  # that may come between two answers, and while one is computed


@dataclass
class Fleet:
    """A meter and a vehicle, and what was sent of them: all that an answer may be made of."""

    end: datetime
    meter: str = field(default_factory=lambda: device("M"))
    vehicle: str = field(default_factory=lambda: device("V"))
    energies: dict[tuple[str, int], int] = field(default_factory=dict)
    sums: list[tuple[float, float, int, int]] = field(default_factory=list)
    acknowledged: int = 0

    def heartbeat(self, side: str, minutes: int, whole: int) -> dict[str, Any]:
        """One heartbeat, `minutes` before the end of the window, of so many microwatt-hours."""
        at = (self.end - timedelta(minutes=minutes)).isoformat()
        kwh = whole / 1e9
        if side == "meter":
            return {"meterId": self.meter, "timestamp": at, "kwhConsumedAc": kwh}
        named = {"meterId": self.meter}
        return {"vehicleId": self.vehicle, "timestamp": at, "kwhDeliveredDc": kwh, **named}

    def take(self, batch: list[tuple[str, int, int]]) -> None:
        """Note a batch that is about to be sent: the last of one device and time counts."""
        self.energies |= {(side, minutes): whole for side, minutes, whole in batch}
        of_side = {
            name: [whole for (side, _), whole in self.energies.items() if side == name]
            for name in STREAMS
        }
        meter, vehicle = of_side["meter"], of_side["vehicle"]
        self.sums.append((sum(meter) / 1e9, sum(vehicle) / 1e9, len(meter), len(vehicle)))


def answered(http: httpx.Client, fleet: Fleet) -> tuple[float, float, int, int]:
    window = {"start": (fleet.end - timedelta(days=1)).isoformat(), "end": fleet.end.isoformat()}
    got = http.get(f"/v1/analytics/performance/{fleet.vehicle}", params=window)
    assert got.status_code == 200, got.text
    told = got.json()
    points = told["dataPoints"]
    return (
        told["energyConsumedAc"] or 0.0,
        told["energyDeliveredDc"] or 0.0,
        points["meter"],
        points["vehicle"],
    )


@contextmanager
def compacting(api: Collector, hours: list[datetime]) -> Iterator[None]:
    """Compact these hours over and over, as Dagster would."""
    done = threading.Event()
    lake = Lake(str(api.lake_folder))

    def compact() -> None:
        with psycopg.connect(api.database_url, autocommit=True) as conn:
            while not done.is_set():
                for stream in STREAMS.values():
                    result = compact_hour(lake, stream, random.choice(hours))
                    conn.execute(
                        query("mark_compacted"),
                        {
                            "stream": stream.name,
                            "hour": result.hour,
                            "version": result.raw_version,
                            "rows": result.rows,
                            "duplicates": result.duplicates_removed,
                        },
                    )

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(compact)
        try:
            yield
        finally:
            done.set()
        running.result()


HEARTBEATS = st.tuples(
    st.sampled_from(sorted(STREAMS)),
    st.integers(1, MINUTES),
    st.integers(1, 10**9),
)
BATCHES = st.lists(st.lists(HEARTBEATS, min_size=1, max_size=12), min_size=15, max_size=30)


@settings(
    max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(BATCHES)
def test_performance_is_the_plain_sum_while_heartbeats_come_are_flushed_and_compacted(
    api: Collector, batches: list[list[tuple[str, int, int]]]
) -> None:
    fleet = Fleet(end=datetime.now(UTC).replace(microsecond=0))
    # The vehicle is known, and the meter is its own in all of the window.
    api.post("/v1/ingest/vehicle", fleet.heartbeat("vehicle", MINUTES + 60, 1))
    link = {"meterId": fleet.meter, "vehicleId": fleet.vehicle, "validFrom": "2026-01-01T00:00:00Z"}
    assert api.post("/v1/links", link).status_code == 201
    fleet.take([("vehicle", MINUTES + 60, 1)])

    answers = threading.Semaphore(1)

    def ingest() -> None:
        with httpx.Client(base_url=str(api.http.base_url), timeout=60) as http:
            for number, batch in enumerate(batches):
                if number % BATCHES_AN_ANSWER == 0:
                    answers.acquire(timeout=60)
                fleet.take(batch)
                sent = [fleet.heartbeat(*one) for one in batch]
                taken = http.post("/v1/ingest/telemetry", json=sent)
                assert taken.status_code == 201, taken.text
                fleet.acknowledged += 1

    hours = hours_between(hour_of(fleet.end) - 4 * HOUR, fleet.end)
    with compacting(api, hours), ThreadPoolExecutor(1) as pool:
        ingesting = pool.submit(ingest)
        while not ingesting.done():
            before = fleet.acknowledged
            answer = answered(api.http, fleet)
            assert answer in fleet.sums[before:]
            answers.release()
        ingesting.result()
        assert answered(api.http, fleet) == fleet.sums[-1]
    wait_for(lambda: is_indexed(api, hour_of(fleet.end - timedelta(minutes=MINUTES + 60))))
    assert answered(api.http, fleet) == fleet.sums[-1]


def is_indexed(api: Collector, hour: datetime) -> bool:
    """Compact an hour that vehicles reported in, and say whether there is an index of any."""
    compact_hour(Lake(str(api.lake_folder)), VEHICLE, hour)
    return indexed_hours(api) > 0


def indexed_hours(api: Collector) -> int:
    told = api.http.get("/metrics").text
    (hours,) = re.findall(r"^wattlake_indexed_hours (\S+)$", told, re.MULTILINE)
    return int(float(hours))
