"""The collectors of a machine: processes that share one port, each with a port of its own beside.

`python -m local_stack.stack.collectors` runs COLLECTORS of them, as the main process of a
container.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from local_stack.errors import StackError
from local_stack.settings import LocalStackSettings
from local_stack.stack.liveness import url_answers
from local_stack.stack.service import Service
from warehouse_sql.settings import settings_fault

_OPEN_CONNECTIONS_SECONDS: Final = 40.0  # twice what one waits for them before its last flush
_OWN_PORTS: Final = 100  # beyond PORT begin those of single collectors
_LOOK_SECONDS: Final = 0.5


def collector_ports(settings: LocalStackSettings) -> dict[str, int]:
    """Return the name of each collector with the port on which it alone listens.

    Of one collector that is PORT; of several it is PORT + 101, PORT + 102 ... Raises StackError
    where there are no such ports.
    """
    count = settings.collector_count
    if count == 1:
        return {"collector": settings.port}
    first = settings.port + _OWN_PORTS
    if first + count > 65_535:
        raise StackError(
            f"port {settings.port} leaves none for {count} collectors, whose own ports begin at "
            f"{first + 1}: set PORT to a lower one"
        )
    return {f"collector-{number}": first + number for number in range(1, count + 1)}


def collector_services(
    settings: LocalStackSettings, environment: Mapping[str, str], logs: Path | None
) -> dict[Service, str]:
    """Return the collectors, not started yet, each with the URL that only it answers.

    Their output goes to a file each in `logs`; None: where that of this process goes.
    """
    found = {}
    for name, port in collector_ports(settings).items():
        url = f"http://127.0.0.1:{port}"
        own_port = 0 if port == settings.port else port
        service = Service(
            name,
            [sys.executable, "-P", "-m", "ingestion_api"],
            logs / f"{name}.log" if logs else None,
            {**environment, "PORT": str(settings.port), "OWN_PORT": str(own_port)},
            url_answers(f"{url}/healthz"),
            collector_stop_seconds(settings),
        )
        found[service] = url
    return found


def collector_stop_seconds(settings: LocalStackSettings) -> float:
    """Seconds that the collector may take for open connections, its last flush, and its end."""
    return _OPEN_CONNECTIONS_SECONDS + settings.last_flush_seconds


def main() -> int:
    """Run collectors until a signal comes; 2 with one line where a setting is wrong."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        services = list(collector_services(LocalStackSettings(), os.environ, None))
    except ValidationError as error:
        return _fail(settings_fault(error))
    except StackError as error:
        return _fail(str(error))
    try:
        for service in services:
            service.start()
        while True:
            for service in services:
                if happened := service.watch():
                    _say(happened)
            time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        for service in services:
            service.terminate()
    finally:
        for service in services:
            service.stop()
    return 0


def _fail(text: str) -> int:
    _say(text)
    return 2


def _say(text: str) -> None:
    sys.stderr.write(f"collectors: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
