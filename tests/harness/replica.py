"""A streaming replica of a server."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from local_stack.stack.embedded_postgres import EmbeddedPostgres
from local_stack.stack.parent_death import die_with_parent
from local_stack.stack.postgres_account import server_account, server_binaries
from tests.harness.postgres import accepts_connections, server_folder
from tests.harness.processes import free_port
from tests.harness.waiting import wait_for


@dataclass(frozen=True)
class Replica:
    """A replica on 127.0.0.1."""

    primary: EmbeddedPostgres
    port: int

    def url(self, database_url: str) -> str:
        """The replica of a database of the primary."""
        return database_url.replace(f":{self.primary.port}/", f":{self.port}/")

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Let it show no change inside the block; at the end it catches up."""
        with psycopg.connect(self.url(self.primary.url()), autocommit=True) as conn:
            conn.execute("SELECT pg_wal_replay_pause()")
            wait_for(lambda: _one(conn, "SELECT pg_get_wal_replay_pause_state()") == "paused")
            try:
                yield
            finally:
                conn.execute("SELECT pg_wal_replay_resume()")


@contextmanager
def replica_of(primary: EmbeddedPostgres) -> Iterator[Replica]:
    """Copy a server, and follow it until the end of the block."""
    account, port = server_account(), free_port()
    binaries = server_binaries(account)
    with server_folder() as folder:
        copy = folder / "cluster"
        command = [
            str(binaries / "pg_basebackup"),
            "--dbname",
            primary.url(),
            "--write-recovery-conf",
        ]
        command += ["--checkpoint=fast", "--no-sync", "--pgdata", str(copy)]
        copy.mkdir(mode=0o700)
        subprocess.run(command, check=True, capture_output=True)
        settings = (copy / "wattlake.conf").read_text(encoding="utf-8")
        with (copy / "wattlake.conf").open("w", encoding="utf-8") as file:
            file.write(settings.replace(f"port = '{primary.port}'", f"port = '{port}'"))
        if account:
            subprocess.run(["chown", "-R", f"{account.uid}:{account.gid}", str(copy)], check=True)
        server = [str(binaries / "postgres"), "-D", str(copy)]
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(
                die_with_parent(server, account=account), stdout=log, stderr=log, cwd="/"
            ) as process,
        ):
            replica = Replica(primary, port)
            try:
                wait_for(
                    lambda: accepts_connections(replica.url(primary.url())),
                    describe=(folder / "log").read_text,
                )
                yield replica
            finally:
                process.terminate()


def _one(conn: psycopg.Connection, statement: str) -> object:
    row = conn.execute(statement.encode()).fetchone()
    return row[0] if row else None
