"""Relay before a server that can cut its connections and let new ones hang."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit


class Relay:
    """Passes bytes between clients and the server of a URL, until told otherwise."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._server = (parts.hostname, parts.port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        account = parts.netloc.rpartition("@")[0]
        place = f"{account}@127.0.0.1:{self._listening.getsockname()[1]}"
        self.url = urlunsplit(parts._replace(netloc=place))
        self._open: list[socket.socket] = []
        self._passes = threading.Event()
        self._passes.set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._passes.set()
        self._listening.close()
        self._cut()

    def cut_and_hang(self) -> None:
        """End every connection; new ones are taken, and hang once they are authenticated."""
        self._passes.clear()
        self._cut()

    def resume(self) -> None:
        """Pass everything on again."""
        self._passes.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._server)
                with self._lock:
                    self._open += [client, server]
                threading.Thread(target=self._pass, args=(server, client), daemon=True).start()
                threading.Thread(
                    target=self._pass_requests, args=(client, server), daemon=True
                ).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)

    def _pass_requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65_536):
                # Queries; what comes before them authenticates.
                if data[:1] in (b"Q", b"P", b"B"):
                    self._passes.wait()
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _cut(self) -> None:
        with self._lock:
            for wire in self._open:
                with suppress(OSError):
                    wire.shutdown(socket.SHUT_RDWR)
                wire.close()
            self._open.clear()
