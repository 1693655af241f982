"""`python -m ingestion_api`: the collector as one process."""

import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import structlog
import uvicorn
from pydantic import ValidationError
from starlette.types import ASGIApp

from ingestion_api.alerts.rule_file import BadRules, read_rules
from ingestion_api.app import create_app
from ingestion_api.database.pool import DatabaseNotReady, check_database
from ingestion_api.observability.logs import configure_logging, protect_output
from ingestion_api.server.http_protocol import (
    bounded_connection,
    bounded_websocket,
    possible_connections,
)
from ingestion_api.settings import CollectorSettings
from lake import EnergySettings, Lake, LakeSettings
from lake.costs import BadTariff, read_tariffs
from warehouse_sql.settings import DatabaseSettings, settings_fault

log = structlog.get_logger(__name__)

CONFIGURATION_WRONG, DATABASE_NOT_READY, PORT_TAKEN, PART_ENDED = 2, 3, 4, 5
GRACEFUL_SECONDS = 20  # for open connections at a stop; then comes the last flush
_LONGEST_END = 60  # seconds until it is gone, beside those of the last flush


def main() -> int:
    """Serve until a signal ends it; 0, or 2-5 with one line of what is wrong."""
    protect_output()
    try:
        settings = CollectorSettings()
        database = DatabaseSettings()
        lake, energy = Lake.from_settings(LakeSettings()), EnergySettings()
        rules = read_rules(settings.alert_rules_file)
        tariffs = read_tariffs(Path(energy.tariff_file)) if energy.tariff_file else None
    except BadRules as error:
        return _fail(CONFIGURATION_WRONG, f"ALERT_RULES_FILE: {error}")
    except ValidationError as error:
        return _fail(CONFIGURATION_WRONG, settings_fault(error))
    except BadTariff as error:
        return _fail(CONFIGURATION_WRONG, f"TARIFF_FILE: {error}")
    configure_logging(settings.log_format)
    with ExitStack() as opened:
        sockets = []
        own_ports = [settings.own_port] if settings.own_port else []
        for port in (settings.port, *own_ports):
            is_shared = bool(own_ports) and port == settings.port
            try:
                listening = _listen(settings.host, port, is_shared=is_shared)
                sockets.append(opened.enter_context(listening))
            except OSError as error:
                return _fail(PORT_TAKEN, _port_problem(settings.host, port, error))
        try:
            check_database(database.database_url)
            if database.replica_url != database.database_url:
                check_database(database.replica_url, "READ_DATABASE_URL")
            if database.is_pooled:
                check_database(database.dsn, "DIRECT_DATABASE_URL")
        except DatabaseNotReady as error:
            return _fail(DATABASE_NOT_READY, str(error))
        connections = possible_connections(settings.max_connections)
        if connections < settings.max_connections:
            log.warning(
                "the limit of open files is low; raise it: ulimit -Hn, or LimitNOFILE of systemd",
                connections=connections,
                max_connections=settings.max_connections,
            )
        make_app = partial(create_app, database, lake, settings, energy, rules, tariffs)
        return _serve(sockets, connections, settings, make_app)


def _serve(
    sockets: list[socket.socket],
    connections: int,
    settings: CollectorSettings,
    make_app: Callable[[Callable[[str], None]], ASGIApp],
) -> int:
    ended: list[str] = []

    def end(part: str) -> None:
        """Take nothing more, store and answer what can be, and be gone in any case."""
        ended.append(part)
        server.should_exit = True
        seconds = settings.last_flush_seconds + _LONGEST_END
        last_resort = threading.Timer(seconds, os._exit, (PART_ENDED,))
        last_resort.daemon = True
        last_resort.start()

    server = uvicorn.Server(
        uvicorn.Config(
            make_app(end),
            access_log=False,
            log_config=None,
            server_header=False,
            http=bounded_connection(connections, settings),
            timeout_keep_alive=settings.keep_alive_seconds,
            ws=bounded_websocket(settings),
            ws_max_size=65_536,  # nothing that is sent to the WebSocket is of any use
            proxy_headers=False,  # who is local is told by the connection, not by a header
            timeout_graceful_shutdown=GRACEFUL_SECONDS,
            backlog=2048,
        )
    )
    # The server raises the signal that ended it once more; by then everything is in order.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    server.run(sockets=sockets)
    if ended:
        return _fail(PART_ENDED, f"{ended[0]} ended by a fault, told above; start it again")
    return 0 if server.started else 1


def _listen(host: str, port: int, *, is_shared: bool) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:  # the kernel gives each connection to one of those that listen
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(address)
        listening.listen(2048)
    except OSError:
        listening.close()
        raise
    return listening


def _port_problem(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken; set PORT to another"
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    return f"can't listen on {host}:{port}: {reason}"


def _fail(code: int, text: str) -> int:
    sys.stderr.write(f"collector: {text}\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
