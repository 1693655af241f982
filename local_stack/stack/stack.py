"""Whole stack on one machine: parts, start, supervision and stop."""

import fcntl
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from local_stack.client.collector import Collector
from local_stack.errors import CollectorError, LocalStackError, PostgresError, StackError
from local_stack.folders import make_folder
from local_stack.settings import LocalStackSettings
from local_stack.simulator.simulator import read_progress
from local_stack.stack.collectors import collector_ports, collector_services
from local_stack.stack.database_service import DatabaseService
from local_stack.stack.embedded_postgres import EmbeddedPostgres
from local_stack.stack.liveness import daemon_works, url_answers
from local_stack.stack.parent_death import reap_orphans
from local_stack.stack.schema import prepare_schema
from local_stack.stack.service import Service
from local_stack.stack.stack_api_key import StackApiKey
from warehouse_sql.database_url import dagster_url
from warehouse_sql.errors import WarehouseError

_READY_SECONDS = 60
_HISTORY_SECONDS = 30
_CONNECTIONS = 100  # of the embedded database
_CONNECTIONS_A_COLLECTOR = 20
_MODULE = (sys.executable, "-P", "-m")


class Stack:
    """Database, collectors, Dagster and a simulated fleet, each a child process of this one.

    `start` yields what it is about to do, `watch` what has happened; use both, and `stop`, from
    the main thread.
    """

    def __init__(self, settings: LocalStackSettings) -> None:
        self.settings = settings
        self.folder = settings.folder
        self.collector_url = f"http://127.0.0.1:{settings.port}"
        self.dagster_url = f"http://127.0.0.1:{settings.dagster_port}"
        self.logs = self.folder / "logs"
        self._database: DatabaseService | None = None
        if not settings.database_url:
            most = _CONNECTIONS + _CONNECTIONS_A_COLLECTOR * (settings.collector_count - 1)
            postgres = EmbeddedPostgres(
                self._in("postgres"),
                settings={"max_connections": str(most)},
                binaries=settings.postgres_bin,
            )
            self._database = DatabaseService(postgres)
        self._stack_api_key: StackApiKey | None = None
        self._services: list[Service] = []  # in the order of their start
        self._lock: IO[str] | None = None

    def start(self) -> Iterator[str]:
        """Start everything in order; LocalStackError, in one line, if something is in the way."""
        make_folder(self.folder)
        self._take_lock()
        _check_ports(self.settings)
        make_folder(self.logs)
        _check_pipeline_settings()
        yield "starting the database"
        database_url = self._start_database()
        self._stack_api_key = StackApiKey(database_url, self.folder)
        self._stack_api_key.make()
        environment = self._environment(database_url)
        self._prepare_dagster()
        yield "starting the collector"
        collectors = collector_services(self.settings, environment, self.logs)
        for collector in collectors:
            self._start(collector)
        for collector, url in collectors.items():
            self._wait_until_ready(collector, url)
        if self.settings.fleet_size:
            yield "posting the fleet's last hours"
            own = {"WATTLAKE_API_KEY": self.key or ""}
            self._launch("simulator", self._simulator(), environment | own)
            # Dagster's start takes all processors: one after the other, the first table is sooner.
            self._wait_for_history()
        yield "starting Dagster"
        self._launch(
            "dagster-daemon",
            self._dagster("dagster._daemon", "run"),
            environment,
            daemon_works(database_url),
        )
        listen = ("--host", "127.0.0.1", "--port", str(self.settings.dagster_port))
        self._launch(
            "dagster-webserver",
            self._dagster("dagster_webserver", *listen),
            environment,
            url_answers(f"{self.dagster_url}/server_info"),
        )

    @property
    def is_up(self) -> bool:
        """True if any part was started."""
        return bool(self._services)

    @property
    def key(self) -> str | None:
        """The API key to call the collector with; None if callers need none."""
        return self._stack_api_key.text if self._stack_api_key else None

    def watch(self) -> list[str]:
        """Start again whatever has ended by itself or hangs; return messages about it.

        Whoever their own parents left behind, as Dagster's runs are, is not kept as a zombie.
        """
        parts = [*([self._database] if self._database else []), *self._services]
        said = [text for part in parts if (text := part.watch())]
        reap_orphans({part.pid for part in parts if part.pid is not None})
        return said

    def stop(self) -> Iterator[str]:
        """Stop everything, first who sends and last who stores; yields what it stops."""
        for names in (("simulator",), ("dagster-webserver", "dagster-daemon"), ("collector",)):
            parts = [service for service in self._services if service.name.startswith(names)]
            for service in parts:
                yield f"stopping the {service.name}"
                service.terminate()
            for service in parts:
                service.stop()
        self._services.clear()
        if self._stack_api_key and (trouble := self._stack_api_key.revoke()):
            yield trouble
        if self._database and self._database.running:
            yield "stopping the database"
            self._database.stop()
        self._release_lock()

    def kill(self) -> None:
        """End everything at once; the database recovers at its next start."""
        for service in self._services:
            service.kill()
        if self._database:
            self._database.kill()

    # -- the parts -----------------------------------------------------------------------------

    def _start_database(self) -> str:
        given = self.settings.direct_database_url or self.settings.database_url
        url = self._database.start() if self._database else str(given)
        try:
            prepare_schema(url)
        except WarehouseError as error:
            raise PostgresError(str(error)) from error
        return url

    def _environment(self, database_url: str) -> dict[str, str]:
        own = {} if self.settings.database_url else {"READ_DATABASE_URL": database_url}
        return {
            **os.environ,
            **own,
            "DATABASE_URL": self.settings.database_url or database_url,
            "DIRECT_DATABASE_URL": database_url,
            "LAKE_URI": self.settings.lake_uri or str(self._in("lake")),
            "HOST": "127.0.0.1",
            "NEW_DEVICES_PER_HOUR": str(self.settings.new_devices_per_hour),
            "FLUSH_SECONDS": str(self.settings.flush_seconds),
            "DAGSTER_HOME": str(self._in("dagster")),
            "DAGSTER_POSTGRES_URL": dagster_url(database_url),
        }

    def _prepare_dagster(self) -> None:
        shutil.copyfile(
            _pipelines() / "dagster.yaml", make_folder(self._in("dagster")) / "dagster.yaml"
        )

    def _dagster(self, module: str, *arguments: str) -> list[str]:
        workspace = _pipelines().parent / "workspace.yaml"
        if not workspace.exists():
            raise StackError(f"{workspace} is missing: run from a checkout of the repository")
        return [*_MODULE, module, *arguments, "--workspace", str(workspace)]

    def _simulator(self) -> list[str]:
        return [
            *(*_MODULE, "local_stack", "simulate", "--url", self.collector_url),
            *("--fleet", str(self.settings.fleet_size), "--seed", str(self.settings.fleet_seed)),
            *("--state", str(self._in("simulator.json"))),
        ]

    def _launch(
        self,
        name: str,
        command: list[str],
        environment: dict[str, str],
        is_alive: Callable[[], bool] = lambda: True,
    ) -> None:
        self._start(Service(name, command, self.logs / f"{name}.log", environment, is_alive))

    def _start(self, service: Service) -> None:
        self._services.append(service)
        service.start()

    def _wait_until_ready(self, service: Service, url: str) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        with Collector(url, seconds=5) as collector:
            while True:
                try:
                    collector.check_ready()
                except CollectorError as error:
                    if not service.running:
                        raise StackError(
                            f"the {service.name} does not start: {service.exit_reason()}"
                        ) from error
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)
                else:
                    return

    def _wait_for_history(self) -> None:
        now, deadline = time.time() // 60, time.monotonic() + _HISTORY_SECONDS
        while time.monotonic() < deadline:
            progress = read_progress(self._in("simulator.json"))
            if progress and progress.posted_before >= now:
                return
            time.sleep(0.2)

    def _in(self, name: str) -> Path:
        return self.folder / name

    def _take_lock(self) -> None:
        self._lock = self._in("lock").open("a+", encoding="ascii")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            holder = self._lock.read().strip()
            self._release_lock()
            raise StackError(
                f"Wattlake already runs in {self.folder} (process {holder}): stop it first, or "
                "choose another data folder with --data"
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _check_ports(settings: LocalStackSettings) -> None:
    ports = {settings.port, *collector_ports(settings).values()}
    if settings.dagster_port in ports:
        whose = "PORT" if settings.dagster_port == settings.port else "a collector's own"
        raise StackError(
            f"port {settings.dagster_port} is DAGSTER_PORT and {whose} as well; those of single "
            "collectors are PORT + 101 on: set PORT or DAGSTER_PORT to another"
        )
    for port in ports:
        _check_port("PORT", port)
    _check_port("DAGSTER_PORT", settings.dagster_port)


def _check_port(name: str, port: int) -> None:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise StackError(
            f"port {port} on 127.0.0.1 can't be used ({reason}): set {name} to another"
        ) from error


def _check_pipeline_settings() -> None:
    """Check the pipelines' settings: with a wrong one Dagster would stay up and compute nothing."""
    done = subprocess.run(
        [*_MODULE, "pipelines.settings"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise StackError(done.stderr.strip().splitlines()[-1])


def _pipelines() -> Path:
    spec = importlib.util.find_spec("pipelines")
    if spec is None or not spec.submodule_search_locations:
        raise LocalStackError("the pipelines are not installed: run `make run` in a checkout")
    return Path(spec.submodule_search_locations[0])
