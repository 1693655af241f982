"""`python -m pipelines.verify`: are all numbers those that the raw heartbeats give?

Exit codes: 0 all agree, 1 it can't run, 2 wrong usage, 3 something differs, 130 interrupted.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import adbc_driver_manager
import psycopg
from deltalake.exceptions import DeltaError
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lake import HOUR, EnergySettings, Lake, LakeError, hour_of
from lake.hours import days_within
from lake.settings import LakeSettings
from pipelines.resources import WarehouseResource
from pipelines.verify_days import verify_day
from pipelines.verify_findings import Finding, Remedy
from pipelines.verify_hours import Verification, VerifiedHour
from pipelines.verify_repair import repair
from warehouse_sql.settings import DatabaseSettings

_AGREES, _CANNOT, _DIFFERS, _INTERRUPTED = 0, 1, 3, 130
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN: Final = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify, print what was found; returns the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        report = _verify(asked.start, asked.end, mend=asked.repair)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return _fail(
            f"{str(first['loc'][0] if first['loc'] else 'settings').upper()}: {first['msg']}"
        )
    except (LakeError, DeltaError, OSError, psycopg.Error, adbc_driver_manager.Error) as error:
        return _fail(str(error))
    if asked.json:
        sys.stdout.write(json.dumps(report.as_json(), indent=2, ensure_ascii=False) + "\n")
    else:
        report.print(Console(highlight=False))
    return _DIFFERS if report.findings else _AGREES


class Report:
    """What became of all hours."""

    def __init__(self) -> None:
        self.agreeing = self.raw_rows = self.rows = 0
        self.waiting: list[datetime] = []
        self.findings: list[Finding] = []
        self.energies: dict[str, float] = defaultdict(float)
        self.reopened: set[datetime] | None = None

    def add(self, hour: VerifiedHour) -> None:
        """Count an hour."""
        if hour.waits:
            self.waiting.append(hour.hour)
            return
        if not (hour.rows or hour.energies or hour.findings):
            return  # nothing was ever heard in it
        self.findings += hour.findings
        self.agreeing += not hour.findings
        self.raw_rows += hour.raw_rows
        self.rows += hour.rows
        for stream, kwh in hour.energies.items():
            self.energies[stream] = round(self.energies[stream] + kwh, 9)

    @property
    def differing(self) -> list[datetime]:
        """The hours of the findings."""
        return sorted({found.hour for found in self.findings})

    def as_json(self) -> dict[str, object]:
        """All of it, times in ISO 8601."""
        return {
            "hoursAgreeing": self.agreeing,
            "hoursDiffering": [hour.isoformat() for hour in self.differing],
            "hoursWaiting": [hour.isoformat() for hour in self.waiting],
            "hoursReopened": [hour.isoformat() for hour in sorted(self.reopened or ())],
            "rawHeartbeats": self.raw_rows,
            "distinctHeartbeats": self.rows,
            "energyKwh": dict(self.energies),
            "findings": [
                {
                    "hour": found.hour.isoformat(),
                    "table": found.table,
                    "expected": found.expected,
                    "found": found.found,
                    "first": list(found.first),
                    "remedy": found.remedy.value,
                }
                for found in self.findings
            ],
        }

    def print(self, console: Console) -> None:
        """As lines for a person; none is broken, however narrow the terminal."""
        if self.findings:
            for found in self.findings[:_SHOWN]:
                first = f": {', '.join(found.first)}" if found.first else ""
                for line in (
                    f"{found.hour:%Y-%m-%d %H:%M}  {found.table}{first}",
                    f"    expected  {found.expected}",
                    f"    found     {found.found}",
                ):
                    console.print(line, soft_wrap=True, markup=False)
            if len(self.findings) > _SHOWN:
                console.print(f"{len(self.findings) - _SHOWN:,} more findings; --json has all")
        energies = ", ".join(f"{name} {kwh:,.3f} kWh" for name, kwh in self.energies.items())
        lines = [
            f"hours that agree: {self.agreeing:,}; differ: {len(self.differing):,}; "
            f"wait for their computation: {len(self.waiting):,}",
            f"heartbeats in raw: {self.raw_rows:,}; distinct: {self.rows:,}",
            f"energy measured: {energies or 'none'}",
        ]
        lost = {found.hour for found in self.findings if found.remedy is Remedy.NONE}
        if lost:
            lines.append(
                f"raw heartbeats are missing in {len(lost):,} hours: restore them, nothing else can"
            )
        if self.reopened is not None:
            lines.append(f"{len(self.reopened):,} hours wait now to be computed again")
            if unknown := set(self.differing) - self.reopened - lost:
                lines.append(
                    f"{len(unknown):,} hours are not in the ledger, nothing was ever received in "
                    f"them: run the job `hourly` by hand, first {min(unknown):%Y-%m-%d %H:%M}"
                )
        elif self.findings:
            lines.append("--repair lets these hours be computed again")
        for line in lines:
            console.print(line, soft_wrap=True, markup=False)


def _verify(start: datetime, end: datetime, *, mend: bool) -> Report:
    lake = Lake.from_settings(LakeSettings())
    # The environment or .env provides the field.
    warehouse = WarehouseResource(database_url=DatabaseSettings().dsn)
    report = Report()
    columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    screen = Console(stderr=True)
    with (
        warehouse.arrow() as marts,
        Progress(
            *columns, console=screen, transient=True, disable=not screen.is_terminal
        ) as progress,
    ):
        verification = Verification(lake, warehouse, marts, EnergySettings())
        hours = verification.hours(start, end)
        task = progress.add_task("", total=len(hours))
        for hour in verification.run(hours):
            report.add(hour)
            progress.advance(task)
    for day in sorted({hour.date() for hour in hours} & {*days_within(start, end)}):
        report.findings += verify_day(lake, warehouse, day, EnergySettings())
    if mend:
        with warehouse.autocommit() as connection:
            report.reopened = (
                repair(connection, lake, report.findings) if report.findings else set()
            )
    return report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "wattlake verify", description="Recompute hours from raw and compare every table with them."
    )
    parser.add_argument("--from", dest="start", type=_first_hour, default=_BEGINNING)
    parser.add_argument("--to", dest="end", type=_last_hour, default=hour_of(datetime.now(UTC)))
    parser.add_argument("--repair", action="store_true")
    parser.add_argument("--json", action="store_true")
    return parser


def _first_hour(text: str) -> datetime:
    return hour_of(_moment(text))


def _last_hour(text: str) -> datetime:
    """The end of the hour, or of the day, that was named."""
    moment = _moment(text)
    return moment + timedelta(days=1) if len(text) == len("2026-11-20") else hour_of(moment) + HOUR


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no hour: 2026-11-20T10 is one, 2026-11-20 a whole day, both UTC"
        ) from error
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _fail(text: str) -> int:
    line = " ".join(text.split())
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"wattlake: {line}", markup=False)
    return _CANNOT


if __name__ == "__main__":
    sys.exit(main())
