"""`wattlake devices`: the registry of devices."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lake import EnergySettings
from local_stack.cli.child_command import database_url
from local_stack.cli.device_csv import read_ids, read_updates
from local_stack.client.rejects_file import RefusedRow, RejectsFile
from local_stack.errors import LocalStackError, UsageError
from local_stack.settings import settings_with
from local_stack.terminal import output_console
from warehouse_sql.device_csv import COLUMNS, RefusedDevice
from warehouse_sql.devices import (
    Device,
    list_depots,
    list_devices,
    remove_devices,
    update_devices,
)
from warehouse_sql.errors import WarehouseError
from warehouse_sql.settings import settings_fault

devices = typer.Typer(
    help="What the database knows of the devices: since when each is heard, its depot and group, "
    "the class of its charger, and whether it is retired.",
    no_args_is_help=True,
)

_REASONS_SHOWN = 5

Data = Annotated[
    Path | None,
    typer.Option(help="data folder of `wattlake up`, where DATABASE_URL does not name a database"),
]


class StreamName(StrEnum):
    """Stream of a device."""

    METER = "meter"
    VEHICLE = "vehicle"


@devices.command("list", epilog="Example: **wattlake devices list --stream meter --silent 24**")
def show(
    stream: Annotated[StreamName | None, typer.Option(help="only meters, or only vehicles")] = None,
    charger_class: Annotated[
        str | None, typer.Option("--class", help="only meters whose charger has this class")
    ] = None,
    silent: Annotated[
        float | None,
        typer.Option(
            help="only devices in service without a heartbeat for so many hours", metavar="HOURS"
        ),
    ] = None,
    depot: Annotated[str | None, typer.Option(help="only devices of this depot")] = None,
    group: Annotated[str | None, typer.Option(help="only devices of this group")] = None,
    limit: Annotated[int, typer.Option(help="most devices to show", min=1)] = 1_000,
    data: Data = None,
) -> None:
    """Show the devices, by id."""
    if silent is not None and not 0 <= silent <= 1e6:
        raise UsageError("--silent is a number of hours, 0 to 1,000,000")
    try:
        found = list_devices(
            database_url(settings_with({"data_folder": data})),
            stream=stream,
            charger_class=charger_class,
            silent_since=None if silent is None else datetime.now(UTC) - timedelta(hours=silent),
            depot=depot,
            group=group,
            limit=limit + 1,
        )
    except WarehouseError as error:
        raise LocalStackError(str(error)) from error
    if found:
        output_console().print(_table(found[:limit]))
        if len(found) > limit:
            _remark(f"there are more than these {limit:,}: --limit N shows more")
    else:
        output_console().print("there is no such device")


@devices.command(
    "import",
    epilog="Example: **wattlake devices import chargers.csv**, whose first line is "
    "`stream,device_id,charger_class,retired_at`, and a row of it "
    "`meter,METER001,household,`",
)
def import_devices(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV; an empty cell leaves a value as it is, `none` clears it", metavar="FILE.csv"
        ),
    ],
    data: Data = None,
) -> None:
    """Say to which depot and group devices belong, which class a meter's charger has, and the like.

    The columns are stream and device_id, and those of charger_class, retired_at, depot, group,
    driver, label, latitude, longitude, time_zone and cadence_seconds that are to be told. The API
    makes depots. A class is one of the setting CHARGER_CLASSES, which Dagster and the collector
    need as well. It is a correction: all hours since the meter was first heard are computed again.
    A device that is retired is not expected to be heard; the hours between the old time of its
    retirement and the new one are computed again. An import can be repeated. Refused rows are kept
    in FILE.rejects.csv.
    """
    dsn = database_url(settings_with({"data_folder": data}))
    try:
        accepted, found = read_updates(file, _charger_classes(), list_depots(dsn))
        refused = [_refused_row(one) for one in found]
        rejects = RejectsFile(file, (*COLUMNS, "in no column"))
        rejects.add(refused)
        done = update_devices(dsn, accepted)
    except WarehouseError as error:
        raise LocalStackError(str(error)) from error
    for row in refused[:_REASONS_SHOWN]:
        _say(f"  row {row.number}: {row.reasons}")
    if done.unheard:
        _say(f"  never heard so far: {len(done.unheard):,} ({_some(done.unheard)})")
    _say(
        f"{file}: devices accepted: {len(accepted):,}, of them changed: {done.changed:,}, "
        f"refused: {len(refused):,}"
    )
    if done.hours:
        _say(f"hours that are computed again: {done.hours:,}")
    if refused:
        _say(f"  the refused rows are in {rejects.path}")
        raise typer.Exit(3)


@devices.command(
    "remove",
    epilog="Example: **wattlake devices remove --matching 'stray-*' --stream meter**",
)
def remove(
    ids: Annotated[list[str] | None, typer.Argument(help="ids of devices", metavar="ID...")] = None,
    ids_from: Annotated[
        Path | None,
        typer.Option(
            help="CSV with the columns stream and device_id, as `devices import` takes it",
            metavar="FILE.csv",
        ),
    ] = None,
    matching: Annotated[
        str | None,
        typer.Option(help="devices whose ids are like it; * stands for anything, ? for a letter"),
    ] = None,
    stream: Annotated[StreamName | None, typer.Option(help="only meters, or only vehicles")] = None,
    *,
    yes: Annotated[
        bool, typer.Option("--yes", help="don't ask before a pattern is removed")
    ] = False,
    data: Data = None,
) -> None:
    """Forget devices that are gone for good, or never were: stray ids.

    They leave live state, registry, alerts and rejections, and the pairs that heartbeats named.
    Their heartbeats stay in the lake, and so does what was computed from them; charging links stay
    as well. A device that sends again is back. An id that is not known is told, with exit code 3.
    """
    if sum(bool(way) for way in (ids, ids_from, matching)) != 1:
        raise UsageError("name devices by their ids, by --ids-from or by --matching")
    dsn = database_url(settings_with({"data_folder": data}))
    try:
        known = list_devices(dsn, stream=stream, pattern=matching)
        wanted = [(one.stream, one.device_id) for one in known]
        unknown: list[str] = []
        if not matching:
            named = set(read_ids(ids_from)) if ids_from else set(product(StreamName, ids or ()))
            wanted = [one for one in wanted if one in named]
            asked = {device for of, device in named if stream in (None, of)}
            unknown = sorted(asked - {device for _, device in wanted})
        elif wanted and not (yes or _confirmed(wanted)):
            raise typer.Exit(1)
        done = remove_devices(dsn, wanted)
    except WarehouseError as error:
        raise LocalStackError(str(error)) from error
    _say(f"devices removed: {done.devices:,}, alerts resolved: {done.alerts:,}")
    if unknown:
        _say(f"  not known: {len(unknown):,} ({_some(unknown)})")
        raise typer.Exit(3)


def _confirmed(wanted: list[tuple[str, str]]) -> bool:
    some = _some([device for _, device in wanted])
    if not sys.stdin.isatty():
        raise UsageError(f"{len(wanted):,} devices match ({some}): --yes removes them")
    return typer.confirm(f"remove {len(wanted):,} devices ({some})?")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_REASONS_SHOWN]) + (", ..." if len(names) > _REASONS_SHOWN else "")


def _refused_row(row: RefusedDevice) -> RefusedRow:
    reasons = "; ".join(f"{column}: {why}" if column else why for column, why in row.faults)
    return RefusedRow(row.number, reasons, [row.cells.get(name, "") for name in (*COLUMNS, "")])


def _charger_classes() -> set[str]:
    try:
        return set(EnergySettings().charger_classes)
    except ValidationError as error:
        raise UsageError(settings_fault(error)) from error


def _table(found: list[Device]) -> Table:
    table = Table(box=None)
    for column in (
        "stream",
        "id",
        "first heard (UTC)",
        "newest (UTC)",
        "depot",
        "group",
        "class",
        "retired (UTC)",
    ):
        table.add_column(column, overflow="fold")
    for device in found:
        table.add_row(
            device.stream,
            Text(device.device_id),
            _minute(device.first_heard_at),
            _minute(device.newest_at),
            Text(device.depot or ""),
            Text(device.group or ""),
            Text(device.charger_class or ""),
            _minute(device.retired_at),
        )
    return table


def _minute(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""


def _remark(text: str) -> None:
    Console(stderr=True, highlight=False).print(text, soft_wrap=True, markup=False)


def _say(text: str) -> None:
    output_console().print(text, soft_wrap=True, markup=False)
