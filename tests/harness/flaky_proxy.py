"""A proxy before an HTTP server that takes note of each request, and lets some fail.

In a process of its own: a client that holds the interpreter while it waits would wait for ever.
`python -m tests.harness.flaky_proxy PORT` prints the port that it listens on. What is below /-/ is
for the test: PUT /-/faults takes a list of faults as JSON, GET /-/faults tells what is left of
them, and GET /-/requests how many requests of each method came.

Azurite ignores `startFrom` of a listing, so what lies before is left out here, as Azure does it.
"""

import json
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

_HOP_BY_HOP: Final = ("connection", "transfer-encoding", "content-length", "server", "date")
OWN: Final = "/-/"


@dataclass
class Fault:
    """What happens to the requests whose `METHOD path` matches a regular expression."""

    matches: str
    times: int
    """To so many of them."""
    status: int | None = None
    """Is answered in place of the server's answer, and the server gets nothing."""
    cut: str | None = None
    """`before` or `after` the server has got it the connection ends, without an answer; `within`:
    in the middle of the answer."""
    is_held: bool = False
    """It waits, before anything else, until the faults are other ones."""
    seconds: float = 0
    """It waits for so long, before anything else."""


class FlakyProxy(ThreadingHTTPServer):
    """The proxy; knows its faults and how many requests came."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.faults = port, list[Fault]()
        self.requests = Counter[str]()
        self.changed = threading.Event()
        self._lock = threading.Lock()

    def change(self, faults: Iterable[Fault]) -> None:
        """Take other faults, and let go what is held."""
        with self._lock:
            held, self.changed = self.changed, threading.Event()
            self.faults = [*faults]
        held.set()

    def next_fault(self, method: str, path: str) -> tuple[Fault | None, threading.Event]:
        """The fault of a request, which is used up, and what tells that the faults are others."""
        with self._lock:
            self.requests[method] += 1
            for fault in self.faults:
                if fault.times and re.search(fault.matches, f"{method} {path}"):
                    fault.times -= 1
                    return fault, self.changed
            return None, self.changed


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # The second part of an answer would wait until the client has acknowledged the first.
    disable_nagle_algorithm = True
    server: FlakyProxy

    def log_message(self, *arguments: object) -> None:
        pass

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path.startswith(OWN):
            self._answer(200, [], self._own(body))
            return
        fault, changed = self.server.next_fault(self.command, self.path)
        if fault is not None and (fault.is_held or fault.seconds):
            changed.wait(None if fault.is_held else fault.seconds)
        if fault is not None and fault.status is not None:
            self._answer(fault.status, [], b"<Error><Code>SlowDown</Code></Error>")
            return
        self.close_connection = fault is not None and fault.cut is not None
        if fault is not None and fault.cut == "before":
            return
        status, headers, content = self._forward(body)
        if fault is None or fault.cut != "after":
            self._answer(status, headers, content, cut=fault is not None and fault.cut == "within")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_request

    def _own(self, body: bytes) -> bytes:
        if self.command == "PUT":
            self.server.change(Fault(**fault) for fault in json.loads(body))
        if self.path == f"{OWN}faults":
            return json.dumps(as_json(self.server.faults)).encode()
        return json.dumps(self.server.requests).encode()

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
        try:
            upstream.request(self.command, self.path, body, dict(self.headers.items()))
            answer = upstream.getresponse()
            content = answer.read()
            if first := parse_qs(urlsplit(self.path).query).get("startFrom"):
                content = _listed_from(first[0], content)
            return answer.status, answer.getheaders(), content
        finally:
            upstream.close()

    def _answer(
        self, status: int, headers: list[tuple[str, str]], content: bytes, *, cut: bool = False
    ) -> None:
        length = str(len(content))
        if self.command == "HEAD":
            length = next((v for k, v in headers if k.lower() == "content-length"), "0")
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)


def _listed_from(first: str, content: bytes) -> bytes:
    """A listing of Azure without what comes before a name."""
    answer = ElementTree.fromstring(content)
    for listed in answer.iterfind("Blobs"):
        for entry in listed.findall("*"):
            if entry.findtext("Name", "") < first:
                listed.remove(entry)
    cut: bytes = ElementTree.tostring(answer, encoding="utf-8", xml_declaration=True)
    return cut


def as_json(faults: list[Fault]) -> list[dict[str, Any]]:
    """The faults as PUT /-/faults takes them."""
    return [asdict(fault) for fault in faults]


if __name__ == "__main__":
    with FlakyProxy(int(sys.argv[1])) as proxy:
        sys.stdout.write(f"{proxy.server_address[1]}\n")
        sys.stdout.flush()
        proxy.serve_forever()
