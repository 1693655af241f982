"""HTTP server that takes heartbeats, or refuses, as a test wants it: for faults on the way."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FlakyCollector(ThreadingHTTPServer):
    """Server that answers with `answers` in turn (status codes; 0 hangs up), then takes everything.

    With 207 it takes all but the first heartbeat, which is of too many new devices.

    What it took stands in `heartbeats`, in order of arrival, with the path of its request.
    """

    def __init__(self, answers: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = list(answers)
        self.heartbeats: list[tuple[str, dict[str, Any]]] = []
        self.posts = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """URL of the server."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def flaky_collector(*answers: int) -> Iterator[FlakyCollector]:
    """Serve as one, until the end of the block."""
    with FlakyCollector(list(answers)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


_TOO_MANY = "too_many_new_devices"


class _Handler(BaseHTTPRequestHandler):
    server: FlakyCollector
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200, {"ready": True})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        heartbeats = body if isinstance(body, list) else [body]
        with self.server.lock:
            self.server.posts += 1
            status = self.server.answers.pop(0) if self.server.answers else 201
            if status == 207 and len(heartbeats) == 1:
                status = 429
            if status == 207:
                self.server.heartbeats += [(self.path, one) for one in heartbeats[1:]]
            if status == 201:
                self.server.heartbeats += [(self.path, heartbeat) for heartbeat in heartbeats]
        if status == 0:
            self.close_connection = True
        elif status == 201:
            self._answer(201, {"accepted": len(heartbeats), "rejected": 0, "errors": []})
        elif status == 207:
            error = {"index": 0, "field": "meterId", "reason": "too many", "code": _TOO_MANY}
            accepted = len(heartbeats) - 1
            self._answer(207, {"accepted": accepted, "rejected": 1, "errors": [error]})
        else:
            self._answer(status, {"title": "flaky", "detail": f"answer {status}"})

    def _answer(self, status: int, value: object) -> None:
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        if status in (207, 429, 503):
            self.send_header("retry-after", "1")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""
