"""`wattlake import`: a process that brings files into the lake, beside a running stack or not."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from local_stack.embedded_postgres import running_server
from local_stack.leash import leashed
from local_stack.settings import LocalStackSettings


def import_files(arguments: Sequence[str], settings: LocalStackSettings) -> int:
    """Run the import on this terminal; returns its exit code.

    Its database and lake are those of `DATABASE_URL` and `LAKE_URI`, or those of the stack that
    runs in the data folder; PostgresError if none does.
    """
    environment = dict(os.environ)
    if settings.database_url is None:
        environment["DATABASE_URL"] = running_server(settings.folder / "postgres")
        environment["LAKE_URI"] = settings.lake_uri or str(settings.folder / "lake")
    elif settings.lake_uri is None and settings.data_folder is not None:
        environment["LAKE_URI"] = str(settings.folder / "lake")
    command = [sys.executable, "-P", "-m", "ingestion_api.bulk_import", *arguments]
    # Ctrl-C reaches both: the import says how far it came, and we wait for that.
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        return subprocess.run(leashed(command), env=environment, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def argument_list(
    files: Sequence[Path],
    stream: str | None,
    reading_type: str | None,
    renames: Sequence[str],
    rejects: Path | None,
) -> list[str]:
    """The command line of the import."""
    options = {"--stream": stream, "--reading-type": reading_type, "--rejects": rejects}
    given = [f"{name}={value}" for name, value in options.items() if value is not None]
    return [*given, *(f"--rename={one}" for one in renames), "--", *map(str, files)]
