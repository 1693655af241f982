"""`python -m ingestion_api.bulk_import FILES`: files into the lake; `wattlake import` runs it."""

import argparse
import math
import signal
import sys
from pathlib import Path

import psycopg
from pydantic import TypeAdapter, ValidationError

from ingestion_api.bulk_import.file_import import FileImport
from ingestion_api.bulk_import.ledger import Ledger
from ingestion_api.bulk_import.progress import ProgressDisplay
from ingestion_api.bulk_import.source import Source
from ingestion_api.database.pool import DatabaseNotReady, check_database
from ingestion_api.settings import CollectorSettings
from lake import EnergySettings, Lake, LakeError, LakeSettings, UnusableFile
from lake.recordings import ColumnMapping
from warehouse_sql.named_queries import query
from warehouse_sql.settings import DatabaseSettings, settings_fault

DONE, FAILED, WRONG_USAGE, SOME_REFUSED, INTERRUPTED = 0, 1, 2, 3, 130


def main() -> int:
    """Import each file; exit codes as of the command line."""
    given = _arguments()
    if given.rejects and len(given.files) > 1:
        return _fail(WRONG_USAGE, "--rejects is for one file; each file has its own by default")
    mapping: ColumnMapping = given.mapping
    try:
        settings, energy, dsn = CollectorSettings(), EnergySettings(), DatabaseSettings().dsn
        lake = Lake.from_settings(LakeSettings())
    except ValidationError as error:
        return _fail(WRONG_USAGE, settings_fault(error))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    file = given.files[0]
    refused = taken = 0
    progress = ProgressDisplay()
    try:
        check_database(dsn)
        for file in given.files:
            rejects = given.rejects or file.with_name(f"{file.name}.rejects.csv")
            progress.begin()
            source = Source(file, mapping)
            with Ledger(dsn, lake) as ledger:
                before, _ = ledger.first_partition()
                tolerance = settings.future_tolerance_seconds
                file_import = FileImport(source, mapping, lake, ledger, tolerance, energy)
                with progress.track(file, file_import.progress) as on_progress:
                    found = file_import.run(rejects, on_progress)
                progress.summary(file, file_import.progress, found)
                progress.first_partition(file_import.progress, before, *ledger.first_partition())
            refused += file_import.progress.refused
            taken += file_import.progress.taken
        if taken:
            progress.print_line(_hours_waiting(dsn))
    except KeyboardInterrupt:
        progress.print_line(f"{file}: stopped; the same command goes on")
        return INTERRUPTED
    except UnusableFile as error:
        return _fail(FAILED, f"{file} {error}")
    except (DatabaseNotReady, LakeError, psycopg.Error, OSError) as error:
        return _fail(FAILED, f"{file}: {' '.join(str(error).split())}")
    return SOME_REFUSED if refused else DONE


def _hours_waiting(dsn: str) -> str:
    with psycopg.connect(dsn) as connection:
        found = connection.execute(query("hours_waiting")).fetchone()
    assert found is not None, "the query always has one row"
    hours, seconds = found
    if not hours:
        return "no hour waits for its computation"
    if seconds is None:
        return f"{hours:,} hours wait for their computation; `wattlake status` tells how many do"
    return (
        f"{hours:,} hours wait for their computation: about {math.ceil(seconds / 60)} min, as fast "
        "as it went in the last quarter of an hour"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="wattlake import", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument(
        "--mapping",
        type=TypeAdapter(ColumnMapping).validate_json,
        default=ColumnMapping(),
        metavar="JSON",
    )
    parser.add_argument("--rejects", type=Path)
    return parser.parse_args()


def _fail(code: int, text: str) -> int:
    sys.stderr.write(f"wattlake: {text}\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
