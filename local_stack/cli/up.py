"""`wattlake up`: the stack in this terminal until Ctrl-C."""

import re
import signal
import time
from datetime import UTC, datetime
from importlib.metadata import version

from rich.text import Text

from local_stack.cli.efficiency_tables import (
    fleet_hours,
    fleet_table,
    status_text,
    worst_table,
    worst_vehicles,
)
from local_stack.client.collector import Collector
from local_stack.client.status import read_status, read_warnings
from local_stack.errors import CollectorError, KeyRefused, StackError
from local_stack.settings import LocalStackSettings
from local_stack.stack.parent_death import adopt_orphans, wait_for_orphans
from local_stack.stack.stack import Stack
from local_stack.terminal import Terminal, guard_output

_LOOK_SECONDS = 2.0
_ORPHAN_SECONDS = 5.0
_HOURS_SHOWN = 6
_VEHICLES_SHOWN = 5


def up(settings: LocalStackSettings) -> None:
    """Run the stack until a signal comes, then stop it in order; a second signal kills it.

    LocalStackError if it can't start; then nothing is left running.
    """
    for end in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if end != signal.SIGHUP or signal.getsignal(end) != signal.SIG_IGN:  # nohup
            signal.signal(end, signal.default_int_handler)
    guard_output()
    adopt_orphans()
    stack = Stack(settings)
    with Terminal() as terminal:
        try:
            began = time.monotonic()
            _start(terminal, stack)
            _greet(terminal, stack, time.monotonic() - began)
            _watch(terminal, stack)
        except KeyboardInterrupt:
            terminal.print("stopping; once more Ctrl-C kills")
        finally:
            _stop(terminal, stack)


def _start(terminal: Terminal, stack: Stack) -> None:
    try:
        for step in stack.start():
            terminal.show_step(step)
    except OSError as error:
        raise StackError(f"can't start in {stack.folder}: {error}") from error


def _greet(terminal: Terminal, stack: Stack, seconds: float) -> None:
    settings = stack.settings
    terminal.print(
        Text.assemble(
            (f"Wattlake {version('wattlake')}", "bold"),
            f" is up after {seconds:.0f} s with {settings.fleet_size:,} simulated vehicles",
        )
    )
    for name, what in (
        ("fleet page", f"{stack.collector_url}/"),
        ("API docs", f"{stack.collector_url}/docs"),
        ("asset graph", stack.dagster_url),
        ("reports", f"{stack.collector_url}/reports"),
        ("data", str(stack.folder)),
        ("logs", str(stack.logs)),
        ("stop", "Ctrl-C; the data stays, and the next start goes on with it"),
    ):
        terminal.print(Text.assemble((f"  {name:<12}", "bright_black"), what))


def _watch(terminal: Terminal, stack: Stack) -> None:
    shown: datetime | None = None
    warned: set[str] = set()
    with Collector(stack.collector_url, seconds=5, key=stack.key) as collector:
        while True:
            for happened in stack.watch():
                terminal.print(Text(happened, style="yellow"))
            try:
                terminal.show_status(_line(collector))
                warned = _warn(terminal, collector, warned)
                shown = show_efficiency(terminal, collector, shown)
            except KeyRefused:
                terminal.show_status(
                    Text(
                        "callers need an API key now; the next start has one of its own",
                        style="yellow",
                    )
                )
            except CollectorError:
                terminal.show_status(Text("the collector does not answer yet", style="yellow"))
            time.sleep(_LOOK_SECONDS)


def _line(collector: Collector) -> Text:
    status = read_status(collector)
    hours = f"{status.hours_compacted:,} hours compacted"
    if status.hours_waiting:
        hours += f" ({status.hours_waiting:,} open)"
    parts = [
        f"{status.records_acknowledged:,} acknowledged",
        f"{status.rows_in_lake:,} in the lake",
        hours,
    ]
    vehicles = status_text(status.vehicles_by_status)
    behind = status.figures.delay_text(datetime.now(UTC)) if status.figures else None
    said = [Text(behind, style="yellow")] if behind else []
    return Text(" | ").join([*said, *map(Text, parts), Text("vehicles: ") + vehicles])


def _warn(terminal: Terminal, collector: Collector, warned: set[str]) -> set[str]:
    """Print each new warning; return those that stand now, without their numbers."""
    try:
        texts = read_warnings(collector)
    except CollectorError as error:  # it answers, and can't take heartbeats
        texts = [str(error)]
    warnings = {re.sub(r"\d+", "", text): text for text in texts}
    for kind in warnings.keys() - warned:
        terminal.print(Text(f"warning: {warnings[kind]}", style="yellow"))
    return set(warnings)


def show_efficiency(
    terminal: Terminal, collector: Collector, shown: datetime | None
) -> datetime | None:
    """Print the tables if an hour was computed that was not shown yet; return the newest."""
    hours = fleet_hours(collector, _HOURS_SHOWN, datetime.now(UTC))
    if not hours or (shown is not None and hours[-1].hour_start <= shown):
        return shown
    newest = hours[-1].hour_start
    vehicles = worst_vehicles(collector, newest, _VEHICLES_SHOWN)  # before anything is printed
    terminal.print()
    terminal.print(fleet_table(hours))
    terminal.print(worst_table(vehicles, newest))
    return newest


def _stop(terminal: Terminal, stack: Stack) -> None:
    try:
        was_up = stack.is_up
        for step in stack.stop():
            terminal.show_step(step)
        if was_up:
            terminal.print(f"stopped; the data is in {stack.folder}")
    except KeyboardInterrupt:
        stack.kill()
        terminal.print("killed; the database recovers at the next start")
    wait_for_orphans(_ORPHAN_SECONDS)
