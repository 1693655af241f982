"""`python -m pipelines.verify`: recompute all numbers from the raw heartbeats and compare.

Exit codes: 0 everything was judged and agrees, 1 it can't run, 2 wrong usage, 3 something differs
or can't be read, 4 nothing differs, but not everything could be judged, 130 interrupted.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, redirect_stdout
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final

import adbc_driver_manager
import psycopg
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lake import HOUR, EnergySettings, Lake, LakeError, LakeSettings, hour_of
from lake.costs import BadTariff
from lake.delta import READ_ERRORS
from lake.schema import days_within
from pipelines.engine import EngineError, run_tasks
from pipelines.ledger import first_hour
from pipelines.resources import WarehouseResource
from pipelines.settings import PipelineSettings
from pipelines.verify.damage import DamagedFiles, table_damage
from pipelines.verify.days import verify_day
from pipelines.verify.files import CheckedTables, unreadable_tables
from pipelines.verify.findings import Finding, Remedy, TableDamage
from pipelines.verify.hours import Verification, VerifiedHour
from pipelines.verify.marts import MartReader
from pipelines.verify.repair import Repair, repair
from pipelines.verify.sessions import verify_sessions
from pipelines.verify.stretch import StretchToVerify, verify_stretch, week_stretches
from warehouse_sql.settings import DatabaseSettings, settings_fault

_AGREES, _CANNOT, _DIFFERS, _NOT_JUDGED, _INTERRUPTED = 0, 1, 3, 4, 130
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN: Final = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify, print what was found; returns the exit code."""
    asked = _parser().parse_args(arguments)
    report = Report()
    try:
        # Ray tells of workers that died on standard output, where the report belongs alone.
        with redirect_stdout(sys.stderr):
            _verify(report, asked.start, asked.end, mend=asked.repair)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except ValidationError as error:
        report.error = settings_fault(error)
    except BadTariff as error:
        report.error = f"TARIFF_FILE: {error}"
    except (
        LakeError,
        EngineError,
        *READ_ERRORS,
        psycopg.Error,
        adbc_driver_manager.Error,
    ) as error:
        report.error = " ".join(str(error).split()) or type(error).__name__
    if report.error is not None:
        _complain(report.error)
    if asked.json:
        sys.stdout.write(json.dumps(report.as_json(), indent=2, ensure_ascii=False) + "\n")
    elif report.error is None or report.has_findings:
        report.print(Console(highlight=False))
    return report.exit_code


class Report:
    """Results of all hours; `error` is the reason if it is not complete."""

    def __init__(self) -> None:
        self.first_hour = _BEGINNING
        self.agreeing = self.raw_rows = self.rows = 0
        self.waiting: list[datetime] = []
        self.never: list[datetime] = []
        self.unknown: list[datetime] = []
        self.differing: set[datetime] = set()
        self.days_unjudged: list[date] = []
        self.tables: list[TableDamage] = []
        self.findings: list[Finding] = []
        self.energies: dict[str, float] = defaultdict(float)
        self.repair: Repair | None = None
        self.error: str | None = None

    def add(self, hour: VerifiedHour) -> None:
        """Count an hour."""
        self.findings += hour.findings
        if hour.waits:
            early = hour.hour < self.first_hour
            (self.never if early else self.waiting).append(hour.hour)
        elif hour.unknown:
            self.unknown.append(hour.hour)
        elif hour.rows or hour.energies or hour.findings or hour.damaged:
            # Otherwise nothing was ever heard in it.
            if hour.findings or hour.damaged:
                self.differing.add(hour.hour)
            else:
                self.agreeing += 1
            self.raw_rows += hour.raw_rows
            self.rows += hour.rows
            for stream, kwh in hour.energies.items():
                self.energies[stream] = round(self.energies[stream] + kwh, 9)

    def add_day(self, day: date, findings: Sequence[Finding] | None) -> None:
        """Count what was judged of a day; its findings are None if it was not."""
        if findings is None:
            if day not in self.days_unjudged:
                self.days_unjudged.append(day)
        else:
            self.findings += findings
            self.differing |= {found.hour for found in findings}

    @property
    def has_findings(self) -> bool:
        """True if anything differs or can't be read."""
        return bool(self.tables or self.findings)

    @property
    def exit_code(self) -> int:
        """Exit code: 0 only where everything was judged and is right."""
        if self.error is not None:
            return _CANNOT
        if self.has_findings:
            return _DIFFERS
        is_unjudged = self.waiting or self.unknown or self.days_unjudged
        return _NOT_JUDGED if is_unjudged else _AGREES

    def as_json(self) -> dict[str, object]:
        """Report as JSON, times in ISO 8601."""
        tables: list[dict[str, object]] = [
            {
                "hour": None,
                "table": found.table,
                "expected": "a log that can be read and is whole",
                "found": found.reason,
                "first": [],
                "remedy": found.remedy.value,
                "file": None,
            }
            for found in self.tables
        ]
        return {
            "error": self.error,
            "hoursAgreeing": self.agreeing,
            "hoursDiffering": _texts(self.differing),
            "hoursWaiting": _texts(self.waiting),
            "hoursNeverComputed": _texts(self.never),
            "hoursUnknown": _texts(self.unknown),
            "daysNotJudged": [day.isoformat() for day in self.days_unjudged],
            "hoursReopened": _texts(self.repair.reopened if self.repair else ()),
            "conditionDays": [
                day.isoformat() for day in sorted(self.repair.days if self.repair else ())
            ],
            "notRepaired": [
                {"hour": found.hour.isoformat(), "table": found.table, "reason": reason}
                for found, reason in (self.repair.left if self.repair else ())
            ],
            "rawHeartbeats": self.raw_rows,
            "distinctHeartbeats": self.rows,
            "energyKwh": dict(self.energies),
            "findings": [*tables, *map(_finding_json, self.findings)],
        }

    def print(self, console: Console) -> None:
        """Print lines for a person; none is broken, however narrow the terminal."""
        lines = []
        for damage in self.tables:
            lines += [
                f"{damage.table}  its log can't be read, or is not whole: {damage.reason}",
                f"    {damage.remedy.value}",
            ]
        for found in self.findings[:_SHOWN]:
            first = f": {', '.join(found.first)}" if found.first else ""
            lines += [
                f"{found.hour:%Y-%m-%d %H:%M}  {found.table}{first}",
                f"    expected  {found.expected}",
                f"    found     {found.found}",
            ]
            if found.remedy.needs_person:
                lines.append(f"    {found.remedy.value}")
        if len(self.findings) > _SHOWN:
            lines.append(f"{len(self.findings) - _SHOWN:,} more findings; --json has all")
        energies = ", ".join(f"{name} {kwh:,.3f} kWh" for name, kwh in self.energies.items())
        lines += [
            f"hours judged: {self.agreeing + len(self.differing):,}; "
            f"agree: {self.agreeing:,}; differ: {len(self.differing):,}",
            *self._unjudged(),
            f"heartbeats in raw: {self.raw_rows:,}; distinct: {self.rows:,}",
            f"energy measured: {energies or 'none'}",
            *self._what_to_do(),
        ]
        for line in lines:
            console.print(line, soft_wrap=True, markup=False)

    def _unjudged(self) -> Iterator[str]:
        for what, hours in (
            ("they wait for their computation", self.waiting),
            ("what they should hold, or are counted from, can't be read", self.unknown),
        ):
            if hours:
                yield (
                    f"hours not judged: {len(hours):,}, {what}, first {min(hours):%Y-%m-%d %H:%M}"
                )
        if self.never:
            yield (
                f"hours before the first that is computed, {self.first_hour:%Y-%m-%d}: "
                f"{len(self.never):,}, first {min(self.never):%Y-%m-%d %H:%M}"
            )
        if self.days_unjudged:
            yield (
                f"days not judged: {len(self.days_unjudged):,}, first {self.days_unjudged[0]}; "
                "their hours or their own run are still to come, or can't be read"
            )

    def _what_to_do(self) -> Iterator[str]:
        lost = {found.hour for found in self.findings if found.remedy is Remedy.NONE}
        if lost:
            yield (
                f"raw heartbeats are missing in {len(lost):,} hours: restore them, nothing else can"
            )
        curable = {
            hour
            for found in self.findings
            if not found.remedy.needs_person and found.remedy is not Remedy.LOOK
            for hour in found.concerned_hours
        }
        days = {found.hour.date() for found in self.findings if found.remedy is Remedy.LOOK}
        if self.repair is not None:
            for found, reason in self.repair.left[:_SHOWN]:
                yield f"{found.hour:%Y-%m-%d %H:%M}  {found.table} is left as it was: {reason}"
                curable -= set(found.concerned_hours)
            yield f"{len(self.repair.reopened):,} hours wait now to be computed again"
            if days:
                first = f"{min(self.repair.days):%Y-%m-%d}"
                yield f"the condition of devices is looked at again from {first} on"
            if unheard := curable - self.repair.reopened:
                yield (
                    f"{len(unheard):,} hours are not in the ledger, nothing was ever received in "
                    f"them: run the job `hourly` by hand, first {min(unheard):%Y-%m-%d %H:%M}"
                )
        elif curable or days:
            which = [name for name, found in (("hours", curable), ("days", days)) if found]
            yield f"--repair lets these {' and '.join(which)} be computed again"


def _finding_json(found: Finding) -> dict[str, object]:
    file = None
    if found.file is not None:
        file = {
            "path": found.file.path,
            "firstHour": found.file.hours[0].isoformat(),
            "lastHour": found.file.hours[-1].isoformat(),
            "devices": found.file.devices,
            "rows": found.file.rows,
        }
    return {
        "hour": found.hour.isoformat(),
        "table": found.table,
        "expected": found.expected,
        "found": found.found,
        "first": list(found.first),
        "remedy": found.remedy.value,
        "file": file,
    }


def _texts(hours: Iterable[datetime]) -> list[str]:
    return [hour.isoformat() for hour in sorted(hours)]


def _verify(report: Report, start: datetime, end: datetime, *, mend: bool) -> None:
    lake, settings = Lake.from_settings(LakeSettings()), EnergySettings()
    engine = PipelineSettings()
    # The environment or .env provides the field.
    warehouse = WarehouseResource(database_url=DatabaseSettings().dsn)
    with warehouse.autocommit() as connection:
        tables = CheckedTables(lake, unreadable_tables(lake, connection))
        report.first_hour = first_hour(connection)
    report.tables = table_damage(tables)
    columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with (
        closing(MartReader(warehouse)) as marts,
        Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        ) as progress,
    ):
        hours = Verification(tables, warehouse, marts, settings).hours(start, end)
        task = progress.add_task("", total=len(hours))
        # One process carries what it has read from hour to hour, and tells of each.
        parts = [hours] if engine.engine == "local" else week_stretches(hours)
        here = partial(verify_stretch, on_hour=partial(progress.advance, task))
        stretches = [
            StretchToVerify(lake, warehouse.dsn, settings, tables.unreadable, part)
            for part in parts
        ]
        with closing(
            run_tasks(engine, here if len(stretches) == 1 else verify_stretch, stretches)
        ) as results:
            judged = 0
            for done in results:
                for hour in done.hours:
                    report.add(hour)
                tables.take_over(done.checked)
                judged += len(done.hours)
                progress.update(task, completed=judged)
        days = {hour.date() for hour in hours if hour >= report.first_hour}
        for day in sorted(days & {*days_within(start, end)}):
            report.add_day(day, verify_day(tables, warehouse, marts, day, settings))
            report.add_day(day, verify_sessions(tables, warehouse, day, settings))
    report.findings += DamagedFiles(tables, warehouse, settings).findings(start, end)
    if mend:
        with warehouse.autocommit() as connection:
            report.repair = (
                repair(connection, lake, report.findings, tables.unreadable)
                if report.findings
                else Repair()
            )


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
    """End of the hour, or of the day, that was named."""
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


def _complain(text: str) -> None:
    line = " ".join(text.split())
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"wattlake: {line}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
