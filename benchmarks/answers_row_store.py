"""The row store beside the collector: filled with the same heartbeats, asked the same."""

import signal
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import httpx
import polars as pl
import psycopg
from psycopg import sql

from benchmarks.answers_fill import FleetLake
from benchmarks.row_store import BY_DEVICE, IN_ORDER_OF_ARRIVAL, LAYOUTS, SUMS, WINDOW
from benchmarks.stack import BenchmarkError, StackUnderTest
from benchmarks.table import Goal, Row, number
from lake import HOUR, METER, STREAMS, VEHICLE, Stream
from local_stack.stack.parent_death import die_with_parent
from tests.harness.collector import clean_environment
from tests.harness.processes import free_port
from tests.harness.waiting import wait_for

_CONNECTIONS: Final = (1, 16)
_START_SECONDS: Final = 60
_STOP_SECONDS: Final = 30
_CHECKED_VEHICLES: Final = 20
_TABLES: Final = Path(__file__).with_name("row_store.sql")
_COLUMNS: Final = {
    METER.name: ("meter_id", "timestamp", "kwh_consumed_ac", "voltage"),
    VEHICLE.name: ("vehicle_id", "timestamp", "kwh_delivered_dc", "soc", "battery_temp"),
}
_COLLECTOR: Final = "collector"
_LATENCIES: Final = ("p50_ms", "p95_ms")


class Asked(Protocol):
    """The load generator, as `get_in_turn` of the answers' bench."""

    def __call__(
        self, paths: Sequence[str], connections: int, port: int | None = None
    ) -> dict[str, Any]: ...


@dataclass(frozen=True)
class _Subject:
    """What is asked of both, and the goals by layout and number of connections."""

    title: str
    ours: str
    theirs: str
    layouts: Sequence[str]
    goals: dict[tuple[str, int], Goal]


_SUBJECTS: Final = (
    _Subject(
        "performance of 24 h",
        "/v1/analytics/performance/{}",
        "performance",
        LAYOUTS,
        {(IN_ORDER_OF_ARRIVAL, 16): Goal(4), (BY_DEVICE, 16): Goal(1)},
    ),
    _Subject(
        "live state",
        "/v1/analytics/vehicle/{}/live",
        "vehicle",
        (IN_ORDER_OF_ARRIVAL,),  # one row is found by its key wherever it lies
        {(IN_ORDER_OF_ARRIVAL, 1): Goal(1.3), (IN_ORDER_OF_ARRIVAL, 16): Goal(1.3)},
    ),
)
_LAYOUT_NAMES: Final = {
    IN_ORDER_OF_ARRIVAL: "row store, rows in order of arrival",
    BY_DEVICE: "row store, rows by device",
}


class RowStore:
    """A running row store, and what was measured of it and of the collector."""

    def __init__(self, port: int, vehicles: Sequence[str], warm: int, note: str) -> None:
        self._port, self._vehicles, self._warm, self.note = port, vehicles, warm, note
        self._loads: dict[tuple[str, int, str], list[dict[str, Any]]] = defaultdict(list)

    def measure(self, ask: Asked) -> None:
        """Ask both the same, one after the other."""
        for subject in _SUBJECTS:
            asked = self._vehicles[: self._warm] if subject.layouts == LAYOUTS else self._vehicles
            for connections in _CONNECTIONS:
                of_case = (subject.title, connections)
                paths = [subject.ours.format(vehicle) for vehicle in asked]
                self._loads[*of_case, _COLLECTOR].append(ask(paths, connections))
                for layout in subject.layouts:
                    paths = [f"/{layout}/{subject.theirs}/{vehicle}" for vehicle in asked]
                    self._loads[*of_case, layout].append(ask(paths, connections, self._port))

    def rows(self) -> Iterator[Row]:
        """Rates of both in requests a second, and how many times as many ours are."""
        for subject in _SUBJECTS:
            for connections in _CONNECTIONS:
                title = f"{subject.title}, {connections} connection{'s' * (connections > 1)}"
                ours = self._loads[subject.title, connections, _COLLECTOR]
                yield from _rates(title, ours)
                for layout in subject.layouts:
                    theirs = self._loads[subject.title, connections, layout]
                    yield from _rates(f"  {_LAYOUT_NAMES[layout]}", theirs)
                    # a run that failed has not asked both
                    ratios = [_rate(a) / _rate(b) for a, b in zip(ours, theirs, strict=False)]
                    if ratios:
                        goal = subject.goals.get((layout, connections))
                        yield Row("  collector to row store", "x", ratios, goal)


@contextmanager
def row_store(
    stack: StackUnderTest, fleet: FleetLake, vehicles: Sequence[str], days: int, warm: int
) -> Iterator[RowStore]:
    """Row store of these vehicles and their meters, in a database of the same server.

    The performance of the first `warm` of them is asked for.
    """
    sys.stderr.write("filling the row store\n")
    url = stack.create_database("row_store")
    rows = _fill(url, fleet, vehicles, days)
    port = free_port()
    process = subprocess.Popen(
        die_with_parent(
            [sys.executable, "-m", "benchmarks.row_store", "--port", str(port)], signal.SIGKILL
        ),
        env=clean_environment(DATABASE_URL=url),
        start_new_session=True,  # Ctrl-C is for the one who started it
    )
    try:
        _warm_up(process, port, vehicles[:warm])
        yield RowStore(
            port,
            vehicles,
            warm,
            f"row store: {len(vehicles):,} vehicles and their meters, {24 * days} hours, "
            f"{rows:,} rows in either order, in the same Postgres; both are asked about the "
            "same vehicles",
        )
    finally:
        process.terminate()
        process.wait(_STOP_SECONDS)


def _fill(url: str, fleet: FleetLake, vehicles: Sequence[str], days: int) -> int:
    """Fill both layouts, and check the sums; returns the number of rows of one."""
    meters = fleet.meters_of(vehicles)
    with psycopg.connect(url, autocommit=True) as conn:
        for layout in LAYOUTS:
            conn.execute(sql.SQL("CREATE SCHEMA {0}").format(sql.Identifier(layout)))
            _use(conn, layout)
            conn.execute(_TABLES.read_bytes())
            with conn.cursor() as cursor:
                cursor.executemany("INSERT INTO vehicle_meter VALUES (%s, %s)", meters.rows())
        _use(conn, IN_ORDER_OF_ARRIVAL)
        rows = 0
        devices = {METER.name: meters["meter_id"], VEHICLE.name: meters["vehicle_id"]}
        for stream in STREAMS.values():
            for hours_ago in range(24 * days, -1, -1):
                arrived = fleet.arrivals(stream, devices[stream.name], hours_ago)
                rows += _copy(conn, stream, arrived)
        for stream in STREAMS.values():
            names = {"of_all": sql.Identifier(IN_ORDER_OF_ARRIVAL, f"{stream.name}_history")}
            _use(conn, BY_DEVICE)
            history = sql.Identifier(f"{stream.name}_history")
            ordered = "INSERT INTO {0} SELECT * FROM {of_all} ORDER BY 1, 2"
            conn.execute(sql.SQL(ordered).format(history, **names))
            for layout in LAYOUTS:
                _finish(conn, layout, stream)
        conn.execute("VACUUM ANALYZE")
        conn.execute("CHECKPOINT")
        for layout in LAYOUTS:
            _use(conn, layout)
            for vehicle in vehicles[:_CHECKED_VEHICLES]:
                _check(conn, fleet, vehicle, dict(meters.rows())[vehicle])
    return rows


def _use(conn: psycopg.Connection, layout: str) -> None:
    conn.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(layout)))


def _copy(conn: psycopg.Connection, stream: Stream, rows: pl.DataFrame) -> int:
    told = sql.SQL("COPY {} FROM STDIN (FORMAT csv)").format(
        sql.Identifier(f"{stream.name}_history")
    )
    with conn.cursor() as cursor, cursor.copy(told) as copy:
        copy.write(rows.select(_COLUMNS[stream.name]).write_csv(include_header=False))
    return rows.height


def _finish(conn: psycopg.Connection, layout: str, stream: Stream) -> None:
    """Index the history, and fill the live states from it."""
    _use(conn, layout)
    names = {
        "history": sql.Identifier(f"{stream.name}_history"),
        "live": sql.Identifier(f"{stream.name}_live"),
        "device": sql.Identifier(stream.device),
    }
    for statement in (
        'CREATE INDEX ON {history} ({device}, "timestamp")',
        "INSERT INTO {live} SELECT DISTINCT ON ({device}) * FROM {history}"
        ' ORDER BY {device}, "timestamp" DESC',
    ):
        conn.execute(sql.SQL(statement).format(**names))


def _check(conn: psycopg.Connection, fleet: FleetLake, vehicle: str, meter: str) -> None:
    """Raise BenchmarkError unless the sums of a day are those of what was filled in."""
    end = fleet.hour + HOUR
    row = conn.execute(SUMS, {"vehicle": vehicle, "start": end - WINDOW, "end": end}).fetchone()
    assert row is not None, "sums always have one row"
    for (stream, device), found in zip(((METER, meter), (VEHICLE, vehicle)), row, strict=False):
        hourly = fleet.energy_of(stream, device)
        if hourly is not None and abs(24 * hourly - found) > 1e-6:
            raise BenchmarkError(f"row store, {device}: {found} kWh, filled in: {24 * hourly}")


def _warm_up(process: "subprocess.Popen[bytes]", port: int, vehicles: Sequence[str]) -> None:
    """Wait until it answers, and ask for the performance of each of the vehicles."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_START_SECONDS) as http:

        def answers() -> bool:
            if process.poll() is not None:
                raise BenchmarkError("the row store does not start; why is told above")
            try:
                http.get(f"/{BY_DEVICE}/vehicle/{vehicles[0]}").raise_for_status()
            except httpx.TransportError:
                return False
            return True

        wait_for(answers, _START_SECONDS)
        for layout in LAYOUTS:
            for vehicle in vehicles:
                http.get(f"/{layout}/performance/{vehicle}").raise_for_status()


def _rate(load: dict[str, Any]) -> float:
    return float(sum(load["answers"].values()) / load["seconds"])


def _rates(case: str, loads: Sequence[dict[str, Any]]) -> Iterator[Row]:
    if loads:
        p50, p95 = (statistics.median(load[name] for load in loads) for name in _LATENCIES)
        cells = {"p50 p95 ms": f"{number(p50)} {number(p95)}"}
        yield Row(case, "requests/s", [_rate(load) for load in loads], cells=cells)
