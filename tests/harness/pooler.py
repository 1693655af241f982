"""PgBouncer, which lends a session of the server for one transaction."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.conninfo import conninfo_to_dict

from local_stack.stack.parent_death import die_with_parent
from local_stack.stack.postgres_account import server_account
from tests.harness.postgres import accepts_connections, server_folder
from tests.harness.processes import free_port
from tests.harness.requirements import skip_or_fail
from tests.harness.waiting import wait_for

SESSIONS = 3  # fewer than a collector has connections, so that each is lent to several


@contextmanager
def pooled(database_url: str) -> Iterator[str]:
    """URL of a pooler of transactions before a database."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        skip_or_fail("no pgbouncer; on Debian: apt-get install pgbouncer")
    given, port = conninfo_to_dict(database_url), free_port()
    account = server_account()  # it does not run as root
    with server_folder() as folder:
        settings, log = folder / "pgbouncer.ini", folder / "log"
        settings.write_text(_settings(database_url, port), encoding="ascii")
        settings.chmod(0o644)
        with (
            log.open("wb") as output,
            subprocess.Popen(
                die_with_parent([program, str(settings)], account=account),
                stdout=output,
                stderr=output,
            ) as process,
        ):
            try:
                url = f"postgresql://{given['user']}@127.0.0.1:{port}/{given['dbname']}"
                wait_for(lambda: accepts_connections(url), describe=log.read_text)
                yield url
            finally:
                process.terminate()


def _settings(database_url: str, port: int) -> str:
    given = conninfo_to_dict(database_url)
    places = " ".join(f"{name}={given[name]}" for name in ("host", "port", "user", "password"))
    return f"""
        [databases]
        {given["dbname"]} = {places}
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = any
        pool_mode = transaction
        default_pool_size = {SESSIONS}
        """
