"""`python -m benchmarks SUITE`: measures and prints one table."""

import argparse
import os
import platform
import signal
import sys
from pathlib import Path

from benchmarks import ingest
from benchmarks.table import table
from local_stack.errors import LocalStackError
from warehouse_sql.errors import WarehouseError

INTERRUPTED = 130


def main() -> int:
    """0; 1 where a measurement failed or its records don't add up. A missed goal is no failure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    suites = parser.add_subparsers(dest="suite", required=True, metavar="SUITE")
    of_ingest = suites.add_parser(
        "ingest",
        help="heartbeats over HTTP: rates, latency, memory and CPU",
        description=ingest.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m benchmarks ingest --seconds 20 --runs 1 --cases single steady",
    )
    of_ingest.add_argument(
        "--cases",
        nargs="+",
        choices=ingest.CASE_NAMES,
        default=ingest.CASE_NAMES,
        metavar="CASE",
        help=f"some of {', '.join(ingest.CASE_NAMES)}; all without it. direct runs with batch-1000",
    )
    of_ingest.add_argument("--seconds", type=_positive, default=60, help="of each case (60)")
    of_ingest.add_argument("--runs", type=_runs, default=3, help="of each case (3)")
    of_ingest.add_argument(
        "--folder",
        type=Path,
        default=Path("/var/tmp"),  # a disk, where /tmp may be in memory
        help="where the database and the lake are kept meanwhile (/var/tmp); it must be a disk",
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # end in order
    load_before, *_ = os.getloadavg()  # of others, who make every number worse
    try:
        report = ingest.measure(given.cases, given.seconds, given.runs, given.folder)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except (LocalStackError, WarehouseError, OSError) as error:
        sys.stderr.write(f"the stack can't be started: {error}\n")
        return 1
    machine = (
        f"{os.cpu_count()} processors, {platform.system()} {platform.machine()}, "
        f"load average before {load_before:.1f}"
    )
    lines = [
        f"{given.seconds:g} s a case, {machine}, Python {platform.python_version()}",
        "",
        table(report.rows) if report.rows else "nothing was measured",
        "",
        "in lake: share of the records when the load ended; MiB: peak; CPU: cores in use",
        *report.notes,
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    for wrong in report.errors:
        sys.stderr.write(f"wrong: {wrong}\n")
    return 1 if report.errors else 0


def _positive(text: str) -> float:
    seconds = float(text)
    if not 1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError("must be 1 to 86,400 seconds")
    return seconds


def _runs(text: str) -> int:
    runs = int(text)
    if runs < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return runs


if __name__ == "__main__":
    raise SystemExit(main())
