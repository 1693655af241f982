"""`python -m benchmarks SUITE`: measures and prints one table."""

import argparse
import os
import platform
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import alerts, answers, condition, ingest, lake, month, queueing, ray, truth
from benchmarks.stack import BenchmarkError
from benchmarks.table import Report, table
from local_stack.errors import LocalStackError
from warehouse_sql.errors import WarehouseError

INTERRUPTED = 130


def main() -> int:
    """Exit code: 1 where a measurement failed or records don't add up; a missed goal is none."""
    given = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # end in order
    load_before, *_ = os.getloadavg()  # of others, who make every number worse
    try:
        report = _measured(given)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except (BenchmarkError, LocalStackError, WarehouseError, OSError) as error:
        sys.stderr.write(f"the stack can't be started: {error}\n")
        return 1
    _print(given.suite, report, load_before)
    return 1 if report.errors else 0


def _measured(given: argparse.Namespace) -> Report:
    match given.suite:
        case "ingest":
            report = ingest.measure(
                given.cases, given.seconds, given.runs, given.folder, given.collectors
            )
        case "answers":
            size = answers.Size(
                given.vehicles, given.days, given.row_store_vehicles, given.row_store_days
            )
            report = answers.measure(given.cases, given.seconds, given.runs, given.folder, size)
        case "alerts":
            report = alerts.measure(given.cases, given.seconds, given.runs, given.folder)
        case "truth":
            report = truth.measure(
                given.cases, given.vehicles, given.days, given.seed, given.failing
            )
        case "condition":
            report = condition.measure(given.cases, given.vehicles, given.seed)
        case "month":
            simulated = month.Size(given.vehicles, given.days, given.cadence)
            report = month.measure(simulated, given.seed, given.folder, given.keep)
        case "queueing":
            report = queueing.measure(given.cases, given.folder)
        case "ray":
            report = ray.measure(given.vehicles, given.days, given.runs, given.folder)
        case _:
            report = lake.measure(given.cases, given.runs, given.hours, given.folder)
    return report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    suites = parser.add_subparsers(dest="suite", required=True, metavar="SUITE")
    of_ingest = _suite(
        suites,
        "ingest",
        "heartbeats over HTTP: rates, latency, memory and CPU",
        ingest.__doc__,
        ingest.CASE_NAMES,
        example="--seconds 20 --runs 1 --cases single steady",
        more="; commit-only runs with batch-1000",
    )
    of_ingest.add_argument("--seconds", type=_positive, default=60, help="of each case (60)")
    of_ingest.add_argument(
        "--collectors", type=_at_least_one, default=1, help="that share the port (1)"
    )
    of_lake = _suite(
        suites,
        "lake",
        "compaction, efficiency tables, disk and bulk import of a full fleet",
        lake.__doc__,
        lake.CASE_NAMES,
        example="--hours 4 --runs 1 --cases day",
    )
    of_lake.add_argument(
        "--hours",
        type=_hours,
        default=24,
        help="of the fleet in the cases day and import (24; the import has at most 9)",
    )
    of_answers = _suite(
        suites,
        "answers",
        "performance, live state and dashboards over HTTP, after 30 days of a full fleet",
        answers.__doc__,
        answers.CASE_NAMES,
        example="--seconds 5 --runs 1 --cases day live",
    )
    of_answers.add_argument("--seconds", type=_positive, default=10, help="of each case (10)")
    size = answers.Size()
    for option, default, what in (
        ("--vehicles", size.vehicles, "of the fleet, and as many meters; 1,000 or more"),
        ("--days", size.days, "of history; 3 or more"),
        ("--row-store-vehicles", size.row_store_vehicles, "of them in the row store"),
        ("--row-store-days", size.row_store_days, "of history in the row store"),
    ):
        of_answers.add_argument(
            option, type=_at_least_one, default=default, help=f"{what} ({default})"
        )
    of_alerts = _suite(
        suites,
        "alerts",
        "what alert rules cost, and how soon an alert follows on its heartbeat",
        alerts.__doc__,
        alerts.CASE_NAMES,
        example="--seconds 20 --runs 1",
    )
    of_alerts.add_argument("--seconds", type=_positive, default=60, help="of each run (60)")
    of_ray = _suite(
        suites,
        "ray",
        "hours on a Ray cluster, beside the same hours in one process",
        ray.__doc__,
        ray.CASE_NAMES,
        example="--vehicles 100 --days 4 --runs 1",
    )
    of_ray.add_argument("--vehicles", type=_at_least_one, default=1000, help="(1000)")
    of_ray.add_argument("--days", type=_at_least_three, default=8, help="3 or more (8)")
    for suite in (of_ingest, of_lake, of_answers, of_alerts, of_ray):
        suite.add_argument("--runs", type=_at_least_one, default=3, help="of each case (3)")
        suite.add_argument(
            "--folder",
            type=Path,
            default=Path("/var/tmp"),  # a disk, where /tmp may be in memory
            help="where database and lake are kept meanwhile (/var/tmp); it must be a disk",
        )
    of_truth = _suite(
        suites,
        "truth",
        "the hourly tables of a simulated fleet, beside its true energies",
        truth.__doc__,
        truth.CASE_NAMES,
        example="--vehicles 20 --cases 5min-60s register-false-zero",
    )
    of_truth.add_argument("--vehicles", type=_at_least_one, default=10, help="of each kind (10)")
    of_truth.add_argument("--days", type=_at_least_one, default=4, help="that they charge (4)")
    of_truth.add_argument("--seed", type=int, default=1, help="of all that is by chance (1)")
    of_truth.add_argument("--failing", type=_share, default=0.2, help="share of vehicles (0.2)")
    of_condition = _suite(
        suites,
        "condition",
        "faults of a simulated year of charging: how well and how fast they are found",
        condition.__doc__,
        condition.CASE_NAMES,
        example="--vehicles 200 --cases found",
    )
    of_condition.add_argument("--vehicles", type=_at_least_one, default=1000, help="(1000)")
    of_condition.add_argument("--seed", type=int, default=1, help="of all that is by chance (1)")
    of_queueing = _suite(
        suites,
        "queueing",
        "queues of the parts, simulated: commits, lake writers of many cells, hours",
        queueing.__doc__,
        queueing.CASE_NAMES,
        example="--cases writers",
    )
    of_queueing.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="as for `lake`")
    of_month = _suite(
        suites,
        "month",
        "a month of heartbeats: its maintenance list and report beside the truth",
        month.__doc__,
        example="--vehicles 2000 --days 31 --keep /tmp/month",
    )
    simulated = month.Size()
    for option, default, what in (
        ("--vehicles", simulated.vehicles, "of the fleet, and 1.2 times as many meters"),
        ("--days", simulated.days, "of heartbeats, at most the month before this one"),
        ("--cadence", simulated.cadence_seconds, "seconds between two heartbeats of a device"),
    ):
        of_month.add_argument(
            option, type=_at_least_one, default=default, help=f"{what} ({default})"
        )
    of_month.add_argument("--seed", type=int, default=1, help="of all that is by chance (1)")
    of_month.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="as for `lake`")
    of_month.add_argument("--keep", type=Path, help="folder that gets the report and the list")
    return parser


def _suite(
    suites: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    what: str,
    description: str | None,
    cases: Sequence[str] = (),
    *,
    example: str,
    more: str = "",
) -> argparse.ArgumentParser:
    suite = suites.add_parser(
        name,
        help=what,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"example: python -m benchmarks {name} {example}",
    )
    if cases:
        suite.add_argument(
            "--cases",
            nargs="+",
            choices=cases,
            default=cases,
            metavar="CASE",
            help=f"some of {', '.join(cases)}{more}; all without it".replace("%", "%%"),
        )
    return suite


def _print(suite: str, report: Report, load_before: float) -> None:
    lines = [
        f"{suite}: {os.cpu_count()} processors, {platform.system()} {platform.machine()}, "
        f"load average before {load_before:.1f}, Python {platform.python_version()}",
        "",
        table(report.rows) if report.rows else "nothing was measured",
        "",
        *report.notes,
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    for wrong in report.errors:
        sys.stderr.write(f"wrong: {wrong}\n")


def _positive(text: str) -> float:
    seconds = float(text)
    if not 1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError("must be 1 to 86,400 seconds")
    return seconds


def _hours(text: str) -> int:
    hours = int(text)
    if not 1 <= hours <= 24:
        raise argparse.ArgumentTypeError("must be 1 to 24")
    return hours


def _at_least_one(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return count


def _at_least_three(text: str) -> int:
    count = int(text)
    if count < 3:
        raise argparse.ArgumentTypeError("must be 3 or more")
    return count


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError("must be 0 to 1")
    return share


if __name__ == "__main__":
    raise SystemExit(main())
