"""Commands of other packages: their module runs as a process in this terminal."""

import os
import subprocess
import sys
from collections.abc import Sequence

from local_stack.settings import LocalStackSettings
from local_stack.stack.embedded_postgres import EmbeddedPostgres
from local_stack.stack.parent_death import die_with_parent


def run_module(module: str, arguments: Sequence[str], settings: LocalStackSettings) -> int:
    """Run `python -m module` on the database and lake of `wattlake up`; returns its exit code.

    Both are those of the data folder unless DATABASE_URL and LAKE_URI are set. What the process
    reads and prints is this terminal's, and so is its Ctrl-C. Raises PostgresError if no
    database runs.
    """
    child = subprocess.Popen(
        die_with_parent([sys.executable, "-P", "-m", module, *arguments]),
        env=_environment(settings),
    )
    while True:
        try:
            code = child.wait()
        except KeyboardInterrupt:  # the terminal has told the child, too: let it end in order
            continue
        return code if code >= 0 else 128 - code


def database_url(settings: LocalStackSettings) -> str:
    """The server of DATABASE_URL, or the embedded one that `wattlake up` runs in the data folder.

    Returns its URL.
    """
    if settings.database_url:
        return settings.direct_database_url or settings.database_url
    return EmbeddedPostgres(settings.folder / "postgres").url_of_running()


def lake_uri(settings: LocalStackSettings) -> str:
    """LAKE_URI, or the lake in the data folder."""
    return settings.lake_uri or str(settings.folder / "lake")


def _environment(settings: LocalStackSettings) -> dict[str, str]:
    url = database_url(settings)
    return {
        **os.environ,
        "DATABASE_URL": url,
        "DIRECT_DATABASE_URL": url,
        "LAKE_URI": lake_uri(settings),
    }
