"""Embedded PostgreSQL server in one folder: durable, and ended with the process that started it."""

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import psycopg

from local_stack.errors import PostgresError
from local_stack.folders import make_folder
from local_stack.stack.parent_death import die_with_parent
from local_stack.stack.postgres_account import (
    major_version,
    may_reach,
    server_account,
    server_binaries,
)

DATABASE = "wattlake"
USER = "wattlake"

# Nothing here weakens durability: fsync, full_page_writes and synchronous_commit stay on.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",  # "localhost" fails where /etc/hosts is missing
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "1GB",
    "min_wal_size": "256MB",
    "wal_compression": "on",
    "checkpoint_timeout": "15min",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "scram_iterations": "1024",  # the password is random and long; a connection is cheaper
}
_SETTINGS_SINCE = {"scram_iterations": 16}
_OWN_SETTINGS = "wattlake.conf"
_BUILTIN_LOCALES = 17
_START_SECONDS = 600  # a long crash recovery is not a failure
_STOP_SECONDS = 60
_REFUSAL = "the database system is "  # starting up, shutting down: told to a client


class EmbeddedPostgres:
    """One server on 127.0.0.1 with a password, its data in `data`/cluster.

    `port`: None keeps the port of the last start, or takes any free one. `settings` are those of
    postgresql.conf. `binaries` is the folder of the server's programs; None: see
    `server_binaries`. The server is a child of this process; `start` must be called from the main
    thread, because at that thread's end the server shuts down by itself (Linux).
    """

    def __init__(
        self,
        data: Path,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        binaries: Path | None = None,
    ) -> None:
        self.folder = data.expanduser().absolute()
        self.port = port
        self.settings = {**_SETTINGS, **(settings or {})}
        self._chosen_binaries = binaries
        self.cluster = self.folder / "cluster"
        self.log = self.folder / "server.log"
        self.log_before = self.folder / "server.log.1"  # of the run before
        self._process: subprocess.Popen[bytes] | None = None
        self._lock_file: int | None = None

    def start(self) -> str:
        """Start the server, recovering from whatever ended it before; returns its URL.

        Creates the cluster at the first start. Raises PostgresError or FolderError.
        """
        if not self.running:
            with contextlib.ExitStack() as undo:
                undo.callback(self.stop)
                self.launch()
                self._wait_until_ready()
                undo.pop_all()
        return self.url()

    def launch(self) -> None:
        """Start the server as `start` does, without waiting until it takes connections."""
        make_folder(self.folder)
        self._lock()
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            self._account = server_account()
            self._binaries = server_binaries(self._account, self._chosen_binaries)
            self._version = major_version(self._binaries) or 0
            self._check_reach()
            self._create_cluster()
            self._check_version()
            self._clear_left_overs()
            self._choose_port()
            self._write_settings()
            self._launch()
            undo.pop_all()

    def stop(self) -> None:
        """Shut the server down cleanly; open connections are ended. Does nothing if it is down."""
        # fast shutdown, then one that leaves recovery to the next start
        self._end((signal.SIGINT, _STOP_SECONDS), (signal.SIGQUIT, 10))

    def kill(self) -> None:
        """End the server at once; the next start recovers."""
        self._end((signal.SIGQUIT, 10))  # unlike SIGKILL, it takes its kin along

    def _end(self, *ways: tuple[signal.Signals, float]) -> None:
        if self._process is not None:
            for how, seconds in ways:
                if self.running:
                    self._process.send_signal(how)
                    self._process.send_signal(signal.SIGCONT)  # one that was stopped hears it, too
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._process.wait(seconds)
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    @property
    def running(self) -> bool:
        """True while the server that we started lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._process is None:
            raise PostgresError(f"no PostgreSQL server runs in {self.folder}")
        return self._process.pid

    def exit_reason(self) -> str:
        """The signal that ended the server, or else the line of its log that says why."""
        if self._process is not None and (self._process.returncode or 0) < 0:
            return signal.Signals(-self._process.returncode).name
        try:
            return _reason(self._log_text())
        except OSError:
            return "its log can't be read"

    def url(self, database: str = DATABASE) -> str:
        """The server's URL with its password, for any client on this machine."""
        password = self._password_file.read_text(encoding="ascii")
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def url_of_running(self) -> str:
        """The URL of the server that another process runs in this folder; PostgresError if none."""
        try:
            self.port = int((self.cluster / "postmaster.pid").read_text().splitlines()[3])
            return self.url()
        except (OSError, IndexError, ValueError) as error:
            raise PostgresError(
                f"no database runs in {self.folder}: start it with `wattlake up`, name its data "
                "folder with --data, or set DATABASE_URL"
            ) from error

    @property
    def _password_file(self) -> Path:
        return self.folder / "password"

    # -- before the start -------------------------------------------------------------------

    def _lock(self) -> None:
        if self._lock_file is not None:
            return
        self._lock_file = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock_file)
            self._lock_file = None
            raise PostgresError(
                f"another process runs the database in {self.folder}: "
                "stop it first, or choose another data folder"
            ) from None

    def _check_reach(self) -> None:
        if self._account and not may_reach(self.folder, self._account):
            raise PostgresError(
                f"the database runs as account {self._account.name!r}, which can't reach "
                f"{self.folder}: choose a data folder under /var/lib or /srv, or start as a "
                "normal user"
            )

    def _create_cluster(self) -> None:
        if self.cluster.exists():
            return
        # An interrupted initdb leaves a folder that looks like a cluster: only a whole one gets
        # the name.
        unfinished = self.folder / "cluster.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self._password_file.write_text(secrets.token_urlsafe(24), encoding="ascii")
        self._password_file.chmod(0o600)
        if self._account:
            for path in (unfinished, self._password_file):
                os.chown(path, self._account.uid, self._account.gid)
        command = [str(self._binaries / "initdb"), "-D", str(unfinished), "-U", USER]
        command += ["--encoding=UTF8", "--auth=scram-sha-256", f"--pwfile={self._password_file}"]
        # no collation of the system's libraries: the folder works on any machine
        command += ["--locale=C"]
        if self._version >= _BUILTIN_LOCALES:
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        done = subprocess.run(
            die_with_parent(command, account=self._account),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd="/",
            check=False,
        )
        if done.returncode:
            raise PostgresError(f"the database can't be created: {_reason(done.stderr)}")
        with (unfinished / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(f"\ninclude_if_exists = '{_OWN_SETTINGS}'\n")
        unfinished.rename(self.cluster)

    def _check_version(self) -> None:
        theirs = (self.cluster / "PG_VERSION").read_text(encoding="ascii").strip()
        if str(self._version) != theirs:
            raise PostgresError(
                f"{self.cluster} was made by PostgreSQL {theirs}, this installation has "
                f"{self._version}: set POSTGRES_BIN to the binaries of the old version, or dump it "
                "with its pg_dump and restore it into a fresh data folder"
            )

    def _clear_left_overs(self) -> None:
        """Wait for what a killed starter or server left behind, in the end with force."""
        for force, seconds in ((None, 10), (signal.SIGQUIT, 5), (signal.SIGKILL, 10)):
            deadline = time.monotonic() + seconds
            if force is not None:
                for pid in self._residents():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, force)
            while self._residents() and time.monotonic() < deadline:
                time.sleep(0.02)
        if left := self._residents():
            raise PostgresError(f"processes {left} in {self.cluster} can't be ended")
        # Nobody lives here: a pid file is stale, even if its number belongs to someone by chance.
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)

    def _residents(self) -> list[int]:
        """Servers in this cluster: each of their processes has it as its working directory."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # another's, or ended meanwhile, or a zombie
                name = os.path.basename(os.readlink(entry / "exe"))
                if name.startswith("postgres") and (entry / "cwd").samefile(self.cluster):
                    found.append(int(entry.name))
        return found

    def _choose_port(self) -> None:
        if self.port is not None:
            if not _is_free(self.port):
                raise PostgresError(f"port {self.port} is taken: choose another for the database")
            return
        settings = self.cluster / _OWN_SETTINGS
        if settings.exists():
            for line in settings.read_text(encoding="utf-8").splitlines():
                if line.startswith("port = ") and _is_free(kept := int(line.split("'")[1])):
                    self.port = kept
        if self.port is None:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                self.port = probe.getsockname()[1]

    def _write_settings(self) -> None:
        values = {
            name: value
            for name, value in {**self.settings, "port": str(self.port)}.items()
            if self._version >= _SETTINGS_SINCE.get(name, 0)
        }
        text = "".join(f"{name} = {_quoted(value)}\n" for name, value in values.items())
        text = "# written at each start\n" + text
        path = self.cluster / _OWN_SETTINGS
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return
        # A disk that is full leaves the old ones whole.
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(text, encoding="utf-8")
        if self._account:
            os.chown(unfinished, self._account.uid, self._account.gid)
        unfinished.replace(path)

    # -- the start ----------------------------------------------------------------------------

    def _launch(self) -> None:
        with contextlib.suppress(OSError):  # the first start, or a disk that takes nothing
            self.log.replace(self.log_before)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                die_with_parent(
                    [str(self._binaries / "postgres"), "-D", str(self.cluster)],
                    at_death=signal.SIGINT,
                    account=self._account,
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,
            )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if not self.running:
                raise PostgresError(
                    f"the database does not start: {self.exit_reason()} (see {self.log})"
                )
            if time.monotonic() > deadline:
                raise PostgresError(f"the database is not ready in time (see {self.log})")
            time.sleep(0.05)

    def _answers(self) -> bool:
        """True once the server takes our connections; it has the database from then on."""
        try:
            with psycopg.connect(self.url("postgres"), autocommit=True, connect_timeout=10) as conn:
                found = conn.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,))
                if found.fetchone() is None:
                    conn.execute(f"CREATE DATABASE {DATABASE}".encode())
        except psycopg.OperationalError:  # not up yet, or still recovering
            return False
        return True

    def _log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


def _reason(output: str) -> str:
    """The line of a server's output that says what is wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for marks in (("FATAL:", "PANIC:"), ("error:",)):  # an ERROR ends a statement, and no server
        for index, line in reversed(list(enumerate(lines))):
            if any(mark in line for mark in marks) and _REFUSAL not in line:
                # a wrong setting has its cause in the line before
                cause = lines[index - 1] if "contains errors" in line and index else line
                return cause.split(": ", 1)[-1].strip()
    return lines[-1] if lines else "it ended without a word"
