"""Bodies of the commands: work and output."""

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lake import UnusableFile
from lake.recordings import ColumnMapping, read_header, require_utf8
from local_stack.cli.alert_table import alert_table, open_alerts
from local_stack.cli.efficiency_tables import (
    fleet_hours,
    fleet_table,
    reasons_text,
    reasons_without_rating,
    status_text,
    worst_table,
    worst_vehicles,
)
from local_stack.client.collector import Collector, describe
from local_stack.client.rejects_file import RefusedRow, RejectsFile
from local_stack.client.replay import Replay
from local_stack.client.status import Status, clock, read_status, read_warnings
from local_stack.errors import CollectorError, LocalStackError, RecordingError, UsageError
from local_stack.settings import ClientSettings
from local_stack.simulator.fleet_model import FleetModel
from local_stack.simulator.simulator import Simulator
from local_stack.stack.schema import prepare_schema
from local_stack.terminal import guard_output, output_console
from warehouse_sql.errors import WarehouseError
from warehouse_sql.settings import DatabaseSettings

_LINKS_AT_ONCE = 5_000
_REASONS_SHOWN = 5


def renames(given: Sequence[str]) -> dict[str, str]:
    """Parse `A=B` texts into a mapping; UsageError for anything else."""
    found = {}
    for text in given:
        name, is_one, value = text.partition("=")
        if not (is_one and name and value):
            raise UsageError(f"--rename takes COLUMN=NAME, not {text!r}")
        found[name] = value
    return found


def replay(
    file: Path,
    meaning: ColumnMapping,
    order_by: str | None,
    url: str,
    *,
    batch: int,
    patience: float,
    restart: bool,
) -> int:
    """Post a recording and print what became of it; returns how many rows were refused."""
    console = output_console()
    with collector_at(url) as collector, _progress(console) as progress:
        collector.check_ready()
        on_its_way = Replay(file, meaning, order_by, collector)
        if restart:
            on_its_way.start_again()
        position = on_its_way.position
        if position.finished:
            _say(console, f"{file} was replayed before; --restart does it again")
            return position.rejected
        if position.rows:
            _say(console, f"going on after row {position.rows:,}")
        task = progress.add_task(file.name, total=on_its_way.rows, completed=position.rows)
        try:
            for position in on_its_way.run(batch, patience, _say_once(console)):
                progress.update(task, completed=position.rows)
        except KeyboardInterrupt:
            _say(console, f"stopped after row {position.rows:,}; the same command goes on")
            raise
    _say(console, f"{file}: {position.accepted:,} accepted, {position.rejected:,} rejected")
    for warning, count in on_its_way.warnings.most_common(_REASONS_SHOWN):
        _say(console, f"  {count:,} x {warning}")
    for column, meant in on_its_way.unknown_columns.items():
        hint = "" if meant is None else f"; did you mean {meant}?"
        _say(console, f"  the column {column} is not known, and was left out{hint}")
    for reason, count in on_its_way.reasons.most_common(_REASONS_SHOWN):
        _say(console, f"  {count:,} x {reason}")
    if position.rejected:
        _say(console, f"  the rejected rows are in {on_its_way.rejected_file}")
    return position.rejected


def import_links(file: Path, url: str) -> int:
    """Post the links of a CSV and print what became of them; returns how many were refused."""
    console = output_console()
    accepted = shown = 0
    rejects: RejectsFile | None = None
    with collector_at(url) as collector:
        for header, numbered in _csv_parts(file):
            rejects = rejects or RejectsFile(file, header)
            body = _csv_text([header, *(cells for _, cells in numbered)])
            response = collector.post("/v1/links/import", body, "text/csv")
            if response.status_code not in {201, 207, 422}:
                raise CollectorError(f"{url} answers {describe(response)}")
            answer = response.json()
            if "accepted" not in answer:
                raise CollectorError(f"{file}: {answer.get('detail')}")
            accepted += answer["accepted"]
            refused = _refused_links(numbered, answer["errors"])
            for row in refused[: _REASONS_SHOWN - shown]:
                _say(console, f"  link {row.number}: {row.reasons}")
                shown += 1
            rejects.add(refused)
    count = rejects.rows if rejects else 0
    _say(console, f"{file}: links accepted: {accepted:,}, refused: {count:,}")
    if rejects and count:
        _say(console, f"  the refused rows are in {rejects.path}")
    return count


def status(url: str) -> None:
    """Print the state of the collector and the lake; CollectorError if it can't take heartbeats."""
    console = output_console()
    with collector_at(url) as collector:
        report = read_status(collector)
        table = Table(show_header=False, box=None)
        table.add_row("collector", url)
        table.add_row("heartbeats acknowledged", f"{report.records_acknowledged:,}")
        table.add_row("on their way to the lake", f"{report.outbox_rows:,}")
        table.add_row("rows in the lake", f"{report.rows_in_lake:,}")
        table.add_row("hours compacted", f"{report.hours_compacted:,}")
        table.add_row("hours waiting", _hours_waiting(report))
        if report.hours_never_computed:
            table.add_row("hours never computed", f"{report.hours_never_computed:,}")
        if report.figures and report.figures.end_at:
            table.add_row("figures end at", clock(report.figures.end_at, datetime.now(UTC)))
        table.add_row("vehicles, newest hour", status_text(report.vehicles_by_status))
        guessed = report.guessed_links
        if guessed.hint:
            table.add_row(
                "links guessed", f"{guessed.links:,}, {guessed.unpaired:,} devices left alone"
            )
        console.print(table)
        for alike in report.ids_alike:
            ids = ", ".join(alike.ids)
            _say(console, f"warning: {alike.stream}s that differ in letter case only: {ids}")
        if guessed.hint:
            _say(console, f"links {guessed.hint}")
        for warning in read_warnings(collector):
            _say(console, f"warning: {warning}")
        console.print("ready for heartbeats")


def _hours_waiting(report: Status) -> str:
    if not report.waiting_seconds:
        return f"{report.hours_waiting:,}"
    minutes = math.ceil(report.waiting_seconds / 60)
    left = f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"
    return f"{report.hours_waiting:,}, about {left} at the pace of the last 15 min"


def efficiency(url: str, hours: int, worst: int, before: datetime) -> None:
    """Print the tables of efficiency; LocalStackError if no hour was computed."""
    console = output_console()
    with collector_at(url) as collector:
        computed = fleet_hours(collector, hours, before)
        if not computed:
            raise LocalStackError(
                f"no hour was computed in the 30 days before {before:%Y-%m-%d %H:%M} UTC: an hour "
                "is computed once it has ended; --before looks further back"
            )
        console.print(fleet_table(computed))
        newest = computed[-1].hour_start
        if vehicles := worst_vehicles(collector, newest, worst):
            console.print(worst_table(vehicles, newest))
        if reasons := reasons_without_rating(collector, newest):
            _say(console, reasons_text(reasons))


def alerts(url: str, limit: int) -> None:
    """Print the open alerts."""
    console = output_console()
    with collector_at(url) as collector:
        found = open_alerts(collector, limit + 1)
    if not found:
        console.print("no alert is open")
        return
    console.print(alert_table(found[:limit]))
    if len(found) > limit:
        _say(console, f"there are more than these {limit:,}: --limit N shows more")


def migrate() -> None:
    """Apply what the database lacks and print it; LocalStackError if that is not possible."""
    console = output_console()
    try:
        applied = prepare_schema(database())
    except WarehouseError as error:
        raise LocalStackError(str(error)) from error
    console.print("\n".join(f"applied {name}" for name in applied) or "nothing to apply")


def simulate(url: str, fleet: int, seed: int, state: Path) -> None:
    """Run a simulated fleet until the process ends."""
    guard_output()
    console = output_console()
    with collector_at(url) as collector:
        Simulator(FleetModel(fleet, seed), collector, state, partial(_say, console)).run()


def database() -> str:
    """The database at DATABASE_URL; UsageError if it is not set, or no such URL."""
    try:
        return DatabaseSettings().dsn
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        reason = "is not set: postgresql://user:password@host:port/database"
        raise UsageError(
            f"DATABASE_URL {reason if first['type'] == 'missing' else first['msg']}"
        ) from error


def collector_at(url: str) -> Collector:
    """The collector at a URL, with the key of the environment."""
    try:
        return Collector(url, key=ClientSettings().wattlake_api_key)
    except ValidationError as error:
        raise UsageError(
            "WATTLAKE_API_KEY is no API key: copy all of what `wattlake keys create` printed"
        ) from error


def _say(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, markup=False)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _say_once(console: Console) -> Callable[[str], None]:
    """Print each reason to wait when it is first met."""
    said: set[str] = set()

    def say(reason: str) -> None:
        if reason not in said:
            said.add(reason)
            _say(console, f"waiting: {reason}")

    return say


def _csv_parts(file: Path) -> Iterator[tuple[list[str], list[tuple[int, list[str]]]]]:
    """Split a CSV into parts that one request may hold: its header, and rows with their numbers."""
    try:
        require_utf8(file)
        header = [name.strip() for name in read_header(file)]
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = filter(None, csv.reader(opened, strict=True))
            next(rows)
            numbered = enumerate(rows, start=1)
            part = list(islice(numbered, _LINKS_AT_ONCE))
            if not part:
                raise RecordingError(f"{file} has no links, only a header")
            while part:
                yield header, part
                part = list(islice(numbered, _LINKS_AT_ONCE))
    except UnusableFile as error:
        raise RecordingError(f"{file} {error}") from error
    except (OSError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecordingError(f"{file} can't be read: {reason}") from error


def _refused_links(
    numbered: Sequence[tuple[int, list[str]]], errors: Sequence[dict[str, Any]]
) -> list[RefusedRow]:
    reasons: dict[int, list[str]] = {}
    for error in errors:
        where = f"{error['field']}: " if error["field"] else ""
        reasons.setdefault(error["index"], []).append(f"{where}{error['reason']}")
    return [
        RefusedRow(numbered[at][0], "; ".join(texts), numbered[at][1])
        for at, texts in sorted(reasons.items())
    ]


def _csv_text(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
