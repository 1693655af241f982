"""The collector under pressure: idle, slow, huge and malicious clients harm nobody else."""

import gzip
import json
import os
import resource
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pyarrow as pa
import pytest

from tests.harness.collector import Collector, running_collector
from tests.harness.heartbeats import device, meter
from tests.harness.outbox import waiting_meters
from tests.harness.postgres import copied_database
from tests.harness.waiting import wait_for

IDLE = 2_000
MIB = 2**20
LARGEST = 16 * MIB
PATIENCE = 2.0  # BODY_TIMEOUT_SECONDS of the collector with tight bounds
AT_ONCE = 5.0  # seconds, on a busy machine too: who waits for a commit is answered after 15
HELD_UP = 1.0  # seconds of a call that is answered in milliseconds; without waiting for a core
BATCH = "/v1/ingest/meter/batch"


@pytest.fixture(scope="module")
def database(postgres: str, migrated_template: str) -> Iterator[str]:
    """A database for the collectors of this file, one after the other."""
    with copied_database(postgres, migrated_template) as url:
        yield url


@pytest.fixture(scope="module")
def api(
    postgres: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Collector]:
    """A collector with its usual bounds, started where few files may be open."""
    folder = tmp_path_factory.mktemp("usual")
    with copied_database(postgres, migrated_template) as url, ExitStack() as stack:
        with open_files(512):
            collector = stack.enter_context(
                running_collector(url, folder, FLUSH_SECONDS="600", KEEP_ALIVE_SECONDS="60")
            )
        stack.enter_context(open_files(IDLE + 500))
        yield collector


@pytest.fixture(scope="module")
def tight(
    postgres: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Collector]:
    """A collector whose bounds are soon reached."""
    with (
        copied_database(postgres, migrated_template) as url,
        running_collector(
            url,
            tmp_path_factory.mktemp("tight"),
            BODY_TIMEOUT_SECONDS=str(PATIENCE),
            ARRIVING_BYTES=str(20 * MIB),
            MAX_CONNECTIONS="50",
            QUEUE_ROWS="50",
            OUTBOX_ROWS="200",
            FLUSH_SECONDS="0.2",
        ) as collector,
    ):
        yield collector


# -- connections -----------------------------------------------------------------------------------


def test_with_2000_idle_connections_others_post_and_each_of_the_2000_still_works(
    api: Collector,
) -> None:
    name = device("M")
    with ExitStack() as stack:
        idle = [stack.enter_context(connected(api)) for _ in range(IDLE)]
        for wire in idle[::2]:  # the others have not sent a byte
            wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for wire in idle[::2]:
            assert status(wire) == 200
        assert api.post(BATCH, [meter(device("M")) for _ in range(1000)]).status_code == 201
        for number, wire in enumerate(idle):
            wire.sendall(posted("/v1/ingest/meter", meter(f"{name}{number}")))
        assert [status(wire) for wire in idle] == [201] * IDLE
    stored = [one for one, _ in waiting_meters(api.database_url) if one.startswith(name)]
    assert len(stored) == len(set(stored)) == IDLE


def test_a_connection_too_many_gets_503_at_once_and_there_is_room_again_once_others_end(
    tight: Collector,
) -> None:
    with ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(connected(tight))
        with connected(tight) as refused:
            assert b"503 Service Unavailable\r\nretry-after: " in refused.recv(1000)
            assert refused.recv(1) == b""
    wait_for(lambda: works(tight))


def test_where_few_files_may_be_open_the_log_says_so_and_connections_leave_some_for_the_rest(
    database: str, tmp_path: Path
) -> None:
    command = ("/bin/sh", "-c", 'ulimit -n 400; exec "$0" -m ingestion_api', sys.executable)
    often = {"FLUSH_SECONDS": "0.2"}
    with Collector(database, tmp_path, often, command=command) as collector, ExitStack() as stack:
        collector.wait_until_ready()
        text = collector.log.read_text()
        assert "the limit of open files is low" in text
        assert "connections=200" in text
        for _ in range(600):
            stack.enter_context(connected(collector))
        assert collector.post(BATCH, [meter("M")]).status_code == 201
        flushed = "SELECT sum(raw_rows) FROM partition_ledger"
        wait_for(lambda: collector.sql(flushed) == [(1,)])
    assert "Too many open files" not in collector.log.read_text()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /v1/ingest/a",
        b"POST /v1/ingest/meter HTTP/1.1\r\nHost: localhost\r\nX-Endless: ",
    ],
    ids=["nothing", "an endless line", "an endless header"],
)
def test_a_connection_that_brings_no_whole_head_of_a_request_is_closed(
    tight: Collector, sent: bytes
) -> None:
    with connected(tight) as wire:
        started = time.monotonic()
        wire.sendall(sent)
        drip(wire, sent[-1:])
        assert wire.recv(1) == b""
        assert PATIENCE / 2 < time.monotonic() - started < PATIENCE + 10


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", b"X-Line: some header\r\n"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Endless: ", b"x" * 64),
        (b"GET /", b"x" * 64),
        (
            b"POST /v1/ingest/meter HTTP/1.1\r\nHost: localhost\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ",
            b"x" * 64,
        ),
        (b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ],
    ids=["lines", "a value", "a URL", "a trailer", "requests"],
)
def test_a_client_that_sends_heads_for_ever_takes_little_memory_and_no_time_of_others(
    api: Collector, begin: bytes, more: bytes
) -> None:
    with connected(api) as wire, Pulse(api) as pulse, MemoryGrowth(api) as memory:
        answered = ThreadPoolExecutor(1).submit(everything, wire)
        try:
            wire.sendall(begin + more * (40 * MIB // len(more)))
            wire.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was closed meanwhile
        answer = answered.result(60)
    if begin:
        assert answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 414 ")), answer[:500]
        assert b"application/problem+json" in answer
    assert memory.mib < 60
    assert pulse.worst_seconds < HELD_UP


def test_an_answer_that_nobody_reads_is_given_up(tight: Collector) -> None:
    wrong = {"meterId": "", "timestamp": "", "voltage": -1, "kwhConsumedAc": -1, "readingType": 0}
    before = open_descriptors(tight)
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.settimeout(30)
        wire.connect(("127.0.0.1", tight.port))
        wire.sendall(posted(BATCH, [wrong] * 10_000))
        wait_for(lambda: open_descriptors(tight) > before)
        wait_for(lambda: open_descriptors(tight) <= before)
        head = wire.recv(100)
        assert head.startswith(b"HTTP/1.1 422")
        received = len(head)
        while chunk := wire.recv(MIB):
            received += len(chunk)
    assert received < 5 * MIB


# -- slow and broken bodies ------------------------------------------------------------------------


def test_a_slow_client_gets_408_and_holds_nobody_up(tight: Collector) -> None:
    body = json.dumps(meter(device("M"))).encode()
    with connected(tight) as slow, Pulse(tight, "POST") as pulse:
        started = time.monotonic()
        slow.sendall(head_of("/v1/ingest/meter", len(body)) + body[:10])
        before = pulse.answers
        drip(slow, b" ")
        others = pulse.answers - before
        answer = b""
        while b"}" not in answer and (part := slow.recv(4096)):
            answer += part
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"the body took longer than 2 seconds" in answer
        assert PATIENCE / 2 < time.monotonic() - started < PATIENCE + 10
    assert pulse.statuses == {201}
    assert others > 3  # had they to wait for its 408, one at most


def test_clients_that_go_away_in_the_middle_leave_nothing_behind(tight: Collector) -> None:
    half = b"[" + b" " * (6 * MIB)
    for _ in range(6):  # together more than may arrive at one time
        with connected(tight) as leaving:
            leaving.sendall(head_of(BATCH, LARGEST) + half)
    wait_for(lambda: posts_large_body(tight, 12 * MIB) == 422)


def test_more_bytes_at_one_time_than_are_allowed_are_503_for_who_exceeds_and_it_recovers(
    tight: Collector,
) -> None:
    with connected(tight) as first:
        first.sendall(head_of(BATCH, LARGEST) + b" " * (12 * MIB))
        wait_for(lambda: posts_large_body(tight, 12 * MIB) == 503)
        assert works(tight)
        assert status(first) == 408
    wait_for(lambda: posts_large_body(tight, 12 * MIB) == 422)


# -- large bodies and bombs ------------------------------------------------------------------------


def valid_16_mib() -> bytes:
    """10,000 heartbeats, each with a long field that nobody asked for."""
    return padded([meter(f"M{n}") for n in range(10_000)])


def wrong_16_mib() -> bytes:
    """10,000 records that break every rule."""
    return padded([{"meterId": "", "timestamp": 0, "voltage": -1, "kwhConsumedAc": "x"}] * 10_000)


def many_values() -> bytes:
    """Of all bodies the one that would take the most memory when parsed."""
    return b"[" + b"[]," * (LARGEST // 3 - 1) + b"1]"


def many_values_in_one() -> bytes:
    """One record, with as many values."""
    return b'[{"meterId":' + b"[" + b"{}," * (LARGEST // 3 - 10) + b"1]}]"


@pytest.mark.parametrize(
    ("make", "expected"),
    [(valid_16_mib, 201), (wrong_16_mib, 422), (many_values, 413), (many_values_in_one, 413)],
)
def test_a_body_of_16_mib_holds_nobody_up_and_takes_bounded_memory(
    api: Collector, make: Callable[[], bytes], expected: int
) -> None:
    body = make()
    assert 0.95 * LARGEST < len(body) <= LARGEST
    with Pulse(api) as pulse, MemoryGrowth(api) as memory:
        answer = api.http.post(BATCH, content=body)
    assert answer.status_code == expected, answer.text[:500]
    assert pulse.worst_seconds < HELD_UP
    assert memory.mib < 250


@pytest.mark.parametrize(
    ("length", "chunked"), [(20 * MIB, False), (100 * MIB, False), (20 * MIB, True)]
)
def test_a_client_that_sends_its_whole_body_before_it_reads_sees_the_413(
    api: Collector, length: int, chunked: bool
) -> None:
    client = HTTPConnection("127.0.0.1", api.port, timeout=60)
    part = b" " * MIB
    parts = iter([part] * (length // MIB))
    headers = {} if chunked else {"Content-Length": str(length)}
    with Pulse(api) as pulse, MemoryGrowth(api) as memory:
        client.request("POST", BATCH, parts, headers, encode_chunked=chunked)
        answer = client.getresponse()
        assert answer.status == 413
        assert b"send it in parts" in answer.read()
    client.close()
    assert memory.mib < 60
    assert pulse.worst_seconds < HELD_UP


def test_a_client_that_asks_first_need_not_send_what_is_too_large(api: Collector) -> None:
    with connected(api) as wire:
        head = head_of(BATCH, 20 * MIB).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
        wire.sendall(head)
        answer = everything(wire)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_a_zip_bomb_is_413_and_takes_little_memory(api: Collector, packing: str) -> None:
    body = bomb(packing)
    assert len(body) < LARGEST
    with Pulse(api) as pulse, MemoryGrowth(api) as memory:
        answers = [
            api.http.post(BATCH, content=body, headers={"Content-Encoding": packing})
            for _ in range(5)
        ]
    assert {answer.status_code for answer in answers} == {413}
    assert "unpack" in answers[0].json()["detail"]
    assert pulse.worst_seconds < HELD_UP
    assert memory.mib < 100


# -- bounds of the queue and the outbox ------------------------------------------------------------


def test_a_full_queue_is_503_at_once_health_answers_and_it_comes_back_by_itself(
    tight: Collector,
) -> None:
    with ThreadPoolExecutor(1) as pool, psycopg.connect(tight.database_url) as lock:
        lock.execute("LOCK TABLE meter_live_state IN EXCLUSIVE MODE")
        waiting = pool.submit(tight.post, BATCH, [meter(device("M")) for _ in range(40)])
        wait_for(lambda: "wattlake_queued_rows 40.0" in tight.http.get("/metrics").text)
        refused = tight.post(BATCH, [meter(device("M")) for _ in range(40)])
        assert refused.status_code == 503
        assert refused.elapsed.total_seconds() < AT_ONCE
        assert int(refused.headers["retry-after"]) >= 1
        assert "too many heartbeats wait" in refused.json()["detail"]
        assert tight.http.get("/healthz").status_code == 200
        lock.rollback()
        assert waiting.result(30).status_code == 201
    wait_for(lambda: works(tight))
    assert 'outcome="unavailable",stream="meter"} 40.0' in tight.http.get("/metrics").text


def test_while_the_lake_is_away_a_full_outbox_is_503_and_it_comes_back_with_the_lake(
    tight: Collector,
) -> None:
    away = tight.lake_folder.with_name("away")
    tight.lake_folder.rename(away)
    tight.lake_folder.write_text("no folder")
    try:
        wait_for(lambda: not works(tight, records=40))
        refused = tight.post("/v1/ingest/meter", meter(device("M")))
        assert refused.status_code == 503
        assert refused.elapsed.total_seconds() < AT_ONCE
        assert int(refused.headers["retry-after"]) >= 1
        assert "the outbox is full" in refused.json()["detail"]
        ready = tight.http.get("/readyz")
        assert ready.status_code == 503
        assert "the outbox is full; it takes again once the lake is back" in ready.json()["reasons"]
        assert tight.http.get("/healthz").status_code == 200
        assert 'wattlake_outbox_rows{stream="meter"}' in tight.http.get("/metrics").text
    finally:
        tight.lake_folder.unlink()
        away.rename(tight.lake_folder)
    wait_for(lambda: works(tight), 60)
    assert tight.http.get("/readyz").status_code == 200


def test_health_and_metrics_answer_while_many_connections_post_batches(api: Collector) -> None:
    request = posted(BATCH, [meter(f"M{n}") for n in range(1000)])
    end = threading.Event()

    def post() -> set[int]:
        seen = set()
        with connected(api) as wire:
            while not end.is_set():
                wire.sendall(request)
                seen.add(status(wire))
        return seen

    with ThreadPoolExecutor(16) as pool:
        posting = [pool.submit(post) for _ in range(16)]
        seconds = []
        for _ in range(8):
            for path in ("/healthz", "/metrics", "/readyz"):
                answer = api.http.get(path)
                assert answer.status_code == 200, answer.text
                seconds.append(answer.elapsed.total_seconds())
        end.set()
        assert set().union(*(one.result() for one in posting)) <= {201, 503}
    assert max(seconds) < 5


# -- clients ---------------------------------------------------------------------------------------


class Pulse:
    """A client that asks again and again, and notes how long the slowest answer took.

    What the threads of both sides waited for a core does not count: others of this machine had it.
    """

    def __init__(self, collector: Collector, method: str = "GET") -> None:
        self.worst_seconds, self.statuses, self.answers = 0.0, set[int](), 0
        self._collector, self._method = collector, method
        self._end, self._first = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Pulse":
        self._thread.start()
        assert self._first.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self._collector.http.base_url, timeout=60) as http:
            while not self._end.is_set():
                before = waits_for_cores(self._collector.pid, os.getpid())
                if self._method == "GET":
                    answer = http.get("/healthz")
                else:
                    answer = http.post("/v1/ingest/meter", json=meter("pulse"))
                waits = waits_for_cores(self._collector.pid, os.getpid()) - before
                seconds = answer.elapsed.total_seconds() - waits.total() / 1e9
                self.worst_seconds = max(self.worst_seconds, seconds)
                self.statuses.add(answer.status_code)
                self.answers += 1
                self._first.set()
                time.sleep(0.005)


class MemoryGrowth:
    """How many MiB the collector's memory went up at most."""

    mib = 0.0

    def __init__(self, collector: Collector) -> None:
        self._process = Path(f"/proc/{collector.pid}")

    def __enter__(self) -> "MemoryGrowth":
        (self._process / "clear_refs").write_text("5")  # forgets the peak so far
        self._before = self._status("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.mib = (self._status("VmHWM") - self._before) / 1024

    def _status(self, name: str) -> int:
        lines = (self._process / "status").read_text().splitlines()
        (kib,) = [line.split()[1] for line in lines if line.startswith(name)]
        return int(kib)


def waits_for_cores(*processes: int) -> Counter[str]:
    """Nanoseconds that each thread was ready to run, and did not, since it began."""
    waits = Counter[str]()
    for process in processes:
        for thread in Path(f"/proc/{process}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                _, waited, _ = (thread / "schedstat").read_text().split()
                waits[thread.name] = int(waited)
    return waits


@contextmanager
def open_files(count: int) -> Iterator[None]:
    """Let this process, and those that it starts, have so many files open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connected(collector: Collector) -> socket.socket:
    return socket.create_connection(("127.0.0.1", collector.port), timeout=30)


def head_of(path: str, length: int) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()


def posted(path: str, value: Any) -> bytes:
    body = json.dumps(value).encode()
    return head_of(path, len(body)) + body


def everything(wire: socket.socket) -> bytes:
    """All that comes, up to the end of the connection."""
    came = bytearray()
    try:
        while part := wire.recv(MIB):
            came += part
    except ConnectionResetError:
        pass
    return bytes(came)


def status(wire: socket.socket) -> int:
    """The status of the answer, which is read to its end."""
    answer = HTTPResponse(wire)
    answer.begin()
    answer.read()
    return answer.status


def drip(wire: socket.socket, byte: bytes) -> None:
    """Send a byte now and then until there is an answer, or an end."""
    wire.settimeout(0.1)
    try:
        while True:
            try:
                wire.recv(1, socket.MSG_PEEK)
            except TimeoutError:
                wire.sendall(byte)
            else:
                break
    finally:
        wire.settimeout(30)


def works(collector: Collector, records: int = 1) -> bool:
    """Whether a small batch is taken."""
    try:
        answer = collector.post(BATCH, [meter(device("M")) for _ in range(records)])
    except httpx.TransportError:
        return False
    assert answer.status_code in (201, 503)
    return answer.status_code == 201


def posts_large_body(collector: Collector, size: int) -> int:
    """The status of a body without any record in it."""
    with httpx.Client(base_url=collector.http.base_url, timeout=60) as http:
        answer = http.post(BATCH, content=b" " * size + b"[]")
    assert ("retry-after" in answer.headers) == (answer.status_code == 503)
    return answer.status_code


def open_descriptors(collector: Collector) -> int:
    return len(os.listdir(f"/proc/{collector.pid}/fd"))


def padded(records: list[dict[str, Any]]) -> bytes:
    """Records with a long unknown field each, together a little less than 16 MiB."""
    length = (LARGEST - len(json.dumps(records))) // len(records) - len(', "note": ""')
    return json.dumps([record | {"note": "x" * length} for record in records]).encode()


def bomb(packing: str) -> bytes:
    """1 GiB of blanks."""
    blanks = b" " * (64 * MIB)
    if packing == "gzip":
        return gzip.compress(blanks) * 16
    return pa.compress(blanks, codec="zstd", asbytes=True) * 16
