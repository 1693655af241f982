"""HTTP receiver of webhooks, which may be busy or away."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver(ThreadingHTTPServer):
    """Server that answers with `answers` in turn, then takes everything; that is in `taken`."""

    def __init__(self, port: int, answers: list[int]) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answers = answers
        self.taken: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.signed: list[tuple[str | None, bytes]] = []

    @property
    def url(self) -> str:
        """URL of the server."""
        return f"http://127.0.0.1:{self.server_address[1]}/hook?token=secret"


@contextmanager
def receiver(*answers: int, port: int = 0) -> Iterator[Receiver]:
    """Run a receiver until the end of the block."""
    with Receiver(port, list(answers)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.answers.pop(0) if self.server.answers else 204
        if 200 <= status < 300:
            self.server.taken.append(json.loads(body))
            self.server.keys.append(self.headers["Idempotency-Key"])
            self.server.signed.append((self.headers["Wattlake-Signature"], body))
        self.send_response(status)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
