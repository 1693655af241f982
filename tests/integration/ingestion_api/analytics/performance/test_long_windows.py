"""The performance of a window is that of all its heartbeats, whatever is kept of it."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion_api.analytics.performance import compute, kept_vehicles, long_windows
from ingestion_api.analytics.performance.kept_vehicles import KeptVehicles
from ingestion_api.analytics.performance.long_windows import LongWindows
from ingestion_api.analytics.performance.readings import read_vehicles
from ingestion_api.analytics.performance.snapshot import Near, read_contexts
from ingestion_api.analytics.performance.vehicle_context import VehicleContext
from ingestion_api.database.dedicated_connection import DedicatedConnection
from lake import DAY, HOUR, STREAMS, EnergySettings, Lake, compact_hours, hour_of
from lake.energy import facts_of_few, rows_of_few, running_few
from lake.reads import DeviceReader, HourIndex, LakeSnapshot, LruCache
from pipelines.compute.devices import register_devices
from pipelines.ledger import mark_compacted
from tests.harness.collector import Collector, collector_of_module
from tests.harness.heartbeats import device
from tests.harness.waiting import wait_for

api = collector_of_module(FLUSH_SECONDS="0.05")

ENERGY = EnergySettings(_env_file=None)
DAYS = 4
STEP = 10
"""Minutes between heartbeats."""
HEARD = (0, 1, 10, 23)
"""Hours of each day with heartbeats: compactions take time."""


class Answers:
    """Answers of one process, which keeps facts of days and of vehicles."""

    def __init__(self, api: Collector, room: Path) -> None:
        self.lake, self.url = Lake(str(api.lake_folder)), api.database_url
        self.reader = DeviceReader(self.lake, 10_000_000, HourIndex(self.lake, room, 0))
        self.long = LongWindows(ENERGY, 1_000_000)
        self.kept = KeptVehicles(ENERGY, 10_000_000)
        self.near: LruCache[str, Near] = LruCache(100_000)

    def check(self, vehicle: str, start: datetime, end: datetime) -> compute.Performance:
        """Return the answer, which is the same from all heartbeats at once."""
        context, view = asyncio.run(self._context({vehicle}, start, end)), self.reader.snapshot()
        every = compute.compute_performances(view, context, ENERGY, self.long, self.kept)
        found, at_once = every[vehicle], computed_at_once(view, context)[vehicle]
        of_both = zip((found.row or {}).items(), (at_once.row or {}).values(), strict=True)
        assert [(name, a, b) for (name, a), b in of_both if a != b] == []
        assert found == at_once
        return found

    def check_together(self, vehicles: set[str], start: datetime, end: datetime) -> None:
        """Ask for vehicles at once: each has the answer that it has alone."""
        context, view = asyncio.run(self._context(vehicles, start, end)), self.reader.snapshot()
        found = compute.compute_performances(view, context, ENERGY, self.long, self.kept)
        assert found == computed_at_once(view, context)
        assert found.keys() == vehicles

    async def _context(self, vehicles: set[str], start: datetime, end: datetime) -> VehicleContext:
        """The context, which is the same whatever is known of these vehicles."""
        connection, now = DedicatedConnection(self.url, "test"), datetime.now(UTC)
        nothing: LruCache[str, Near] = LruCache(0)
        rest = vehicles, start, end, now, 31, ENERGY, now + HOUR
        try:
            found = await connection.run(lambda queries: read_contexts(queries, *rest, self.near))
            fresh = await connection.run(lambda queries: read_contexts(queries, *rest, nothing))
        finally:
            await connection.stop()
        assert found == fresh
        (context,) = found.contexts
        return context

    def compact(self, hours: list[datetime]) -> None:
        """Compact hours of both streams, as Dagster would."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for stream in STREAMS.values():
                done = compact_hours(self.lake, stream, sorted(hours))
                register_devices(connection, self.lake, stream, sorted(hours))
                for compaction in done:
                    mark_compacted(connection, compaction)


def computed_at_once(view: LakeSnapshot, context: VehicleContext) -> dict[str, compute.Performance]:
    """The answers for the vehicles asked for from their readings, without anything kept."""
    period, found = context.period, read_vehicles(view, context, ENERGY)
    facts = facts_of_few(found.ac, found.dc, found.links, period.start, period.end)
    rows = rows_of_few(facts, found.links, context.charger_classes, ENERGY)
    links = compute._links_in(period, context.asked, found.links)
    return {
        vehicle: compute.Performance(period, rows.get(vehicle), links[vehicle])
        for vehicle in context.asked
    }


@pytest.fixture
def answers(api: Collector, tmp_path: Path) -> Answers:
    return Answers(api, tmp_path)


@contextmanager
def counted_days(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[datetime]]:
    """The starts of the days of which the facts are computed meanwhile."""
    days: list[datetime] = []
    real = facts_of_few

    def counting(ac: Any, dc: Any, links: Any, start: datetime, end: datetime) -> Any:
        if end - start == DAY:
            days.append(start)
        return real(ac, dc, links, start, end)

    monkeypatch.setattr(long_windows, facts_of_few.__name__, counting)
    yield days


class Pair:
    """A meter and the vehicle that it feeds, with heartbeats of some days up to an hour ago."""

    def __init__(self, api: Collector, *, registers: bool = False, names: bool = False) -> None:
        self.api, self.meter, self.vehicle = api, device("M"), device("V")
        self.end = hour_of(datetime.now(UTC)) - HOUR
        self.start = self.end - timedelta(days=DAYS)
        moments = (self.start + timedelta(minutes=STEP * n) for n in range(DAYS * 24 * 60 // STEP))
        self.places = [n for n, moment in enumerate(moments) if moment.hour in HEARD]
        self.registers = registers
        self.named = {"meterId": self.meter} if names else {}

    @property
    def hours(self) -> list[datetime]:
        """Those with heartbeats."""
        moments = {hour_of(self.start + timedelta(minutes=STEP * n)) for n in self.places}
        return sorted(moments)

    def link(self, since: datetime, until: datetime | None = None, meter: str = "") -> None:
        body = {
            "meterId": meter or self.meter,
            "vehicleId": self.vehicle,
            "validFrom": since.isoformat(),
        }
        if until:
            body["validTo"] = until.isoformat()
        assert self.api.post("/v1/links", body).status_code == 201

    def post(self, places: list[int], scale: float = 1.0) -> None:
        """Post the heartbeats of these places in time, and wait until the lake has them."""
        batch: list[dict[str, Any]] = []
        for n in places:
            at = self.start + timedelta(minutes=STEP * n, seconds=7)
            flows = n % 50 < 30
            ac = scale * (0.5 * n if self.registers else 0.5 * flows)
            kind = "register" if self.registers else "interval"
            of_both = {"readingType": kind, "timestamp": at.isoformat()}
            batch.append({**of_both, "meterId": self.meter, "kwhConsumedAc": ac})
            late = (at + timedelta(minutes=3)).isoformat()
            batch.append(
                {
                    **of_both,
                    "vehicleId": self.vehicle,
                    "kwhDeliveredDc": ac * 0.9,
                    "batteryTemp": 20.5,
                    "timestamp": late,
                    **self.named,
                }
            )
        for first in range(0, len(batch), 1_000):
            assert self.api.post("/v1/ingest/telemetry", batch[first : first + 1_000]).is_success
        wait_for(lambda: self.api.http.get("/v1/status").json()["outboxRows"] == 0)


def test_days_are_computed_again_only_where_something_of_theirs_has_changed(
    api: Collector, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair(api)
    pair.link(pair.start - DAY)
    last = pair.places[len(pair.places) // 2]
    pair.post([n for n in pair.places if n != last])
    answers.compact(pair.hours)
    window = pair.vehicle, pair.start, pair.end

    with counted_days(monkeypatch) as days:
        before = answers.check(*window)
        assert len(days) >= DAYS - 1
        days.clear()
        assert answers.check(*window) == before
        assert days == []  # all are kept

        late = hour_of(pair.start + timedelta(minutes=STEP * last))
        pair.post([last])
        known = answers.check(*window)  # it waits for its compaction
        assert known.row
        assert before.row
        assert known.row["data_points_vehicle"] == before.row["data_points_vehicle"] + 1
        answers.compact([late])
        days.clear()
        assert answers.check(*window) == known
        assert days  # and no others than the one before and the one after it
        assert all(late - 2 * DAY < day <= late + DAY for day in days)
        days.clear()
        answers.check(*window)
        assert days == []

        other = device("M")
        pair.link(pair.end - 2 * HOUR, None, other)
        days.clear()
        answers.check(*window)
        assert len(days) <= 2  # the first days have nothing to do with it

    naming = Pair(api, names=True)
    naming.post(naming.places[::9])
    answers.check_together({pair.vehicle, naming.vehicle}, pair.start, pair.end)


@settings(
    max_examples=2,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
    deadline=None,
)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_a_long_window_is_what_its_heartbeats_are_while_they_come_and_links_change(
    api: Collector, answers: Answers, seed: int, registers: bool
) -> None:
    chance = random.Random(seed)
    pair = Pair(api, registers=registers)
    silent = chance.choice(pair.places)
    places = [n for n in pair.places if not silent < n < silent + 40]
    chance.shuffle(places)
    pair.link(pair.start - DAY, pair.end - DAY)
    steps = [places[:50], places[50:60], places[60:62], places[62:]]
    for number, step in enumerate(steps):
        pair.post(step)
        answers.compact(chance.sample(pair.hours, 8) if number else pair.hours)
        for _ in range(2):
            start = pair.start + chance.random() * DAY
            answers.check(pair.vehicle, start, pair.end - chance.random() * DAY)
        hour = hour_of(pair.start + chance.random() * DAY)
        for _ in range(3):  # windows of the same hours
            start = hour + chance.random() * HOUR
            answers.check(pair.vehicle, start, hour + DAY - chance.random() * HOUR)
    pair.post(places[:5], scale=1.01)  # other energies for the same times
    answers.check(pair.vehicle, pair.start, pair.end)
    pair.link(pair.end - DAY, None, device("M"))
    answers.check(pair.vehicle, pair.start, pair.end)


def test_a_vehicle_is_prepared_again_only_when_something_of_its_own_has_changed(
    api: Collector, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, other = Pair(api, names=True), Pair(api)
    start = hour_of(pair.end) - DAY
    lately = [n for n in pair.places if pair.start + timedelta(minutes=STEP * n) >= start]
    pair.post(lately[:-2])
    prepared: list[list[str]] = []

    def counting(ac: Any, dc: Any, links: Any, since: datetime, until: datetime) -> Any:
        running = running_few(ac, dc, links, since, until)
        prepared.append(running.vehicles)
        return running

    monkeypatch.setattr(kept_vehicles, running_few.__name__, counting)

    def ask(minutes: int = 0) -> compute.Performance:
        prepared.clear()
        begins = start + timedelta(minutes=minutes, seconds=0.25)
        return answers.check(pair.vehicle, begins, begins + DAY)

    first = ask()
    assert prepared == [[pair.vehicle]]
    assert first == ask()
    assert prepared == []
    assert ask(minutes=7).period != first.period
    assert prepared == []  # another window of the same hours

    pair.post(lately[-2:-1])
    later = ask()
    assert prepared == [[pair.vehicle]]
    assert later.row
    assert first.row
    assert later.row["data_points_vehicle"] == first.row["data_points_vehicle"] + 1

    answers.compact(pair.hours[-3:])
    assert ask() == later

    phases = {"meterId": other.meter, "timestamp": (start + HOUR).isoformat(), "kwhConsumedAc": 0.1}
    assert api.post("/v1/ingest/telemetry", [{**phases, "phase": "L1"}]).is_success
    other.post(other.places[-3:])  # a meter with phases is looked at for each window
    other.link(start)
    answers.check_together({pair.vehicle, other.vehicle}, start, start + DAY)
    prepared.clear()
    answers.check_together({pair.vehicle, other.vehicle}, start, start + DAY)
    assert prepared == []
    other.link(start + timedelta(hours=3), None, pair.meter)  # the meter that the first one names
    ask()
    assert prepared == []  # two have it now, which is looked at for each window
