"""`wattlake query`, `verify`, `report` and `import`: commands on the lake."""

import sys
import webbrowser
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import TypeAdapter

from lake.recordings import ColumnMapping
from lake.reports import parse_period
from lake.time_zones import time_zone as known_zone
from local_stack.cli.child_command import run_module
from local_stack.cli.commands import renames
from local_stack.cli.lake_query import Format, print_tables
from local_stack.cli.lake_query import query as run_query
from local_stack.errors import LocalStackError, UsageError
from local_stack.settings import settings_with

Data = Annotated[
    Path | None,
    typer.Option(help="data folder of `wattlake up`, where LAKE_URI does not name the lake"),
]

# What a recording may leave unsaid, the same for `import` and `replay`.
ReadingType = Annotated[
    Literal["interval", "register"] | None,
    typer.Option(help="what the energies are, where a row does not say it"),
]
Renames = Annotated[
    list[str] | None, typer.Option(help="a column of the file and its true name", metavar="A=B")
]
Unit = Annotated[
    Literal["kWh", "Wh", "MWh", "J", "kJ", "MJ"] | None,
    typer.Option(help="unit of the energies; kWh, unless the file looks otherwise"),
]
MeterId = Annotated[
    str | None, typer.Option(help="the meter of every row, of a file that has no column for it")
]
VehicleId = Annotated[str | None, typer.Option(help="likewise the vehicle")]
TimeZone = Annotated[
    str | None,
    typer.Option(help="zone of times without one, such as Europe/Amsterdam", metavar="ZONE"),
]
AssumeUtc = Annotated[bool, typer.Option("--assume-utc", help="times without a zone are UTC")]


def column_mapping(
    stream: str,
    reading_type: str | None,
    rename: list[str] | None,
    *,
    unit: str | None,
    meter_id: str | None,
    vehicle_id: str | None,
    time_zone: str | None,
    assume_utc: bool,
) -> ColumnMapping:
    """Build a column mapping from the options of `import` and `replay`; raises UsageError."""
    if assume_utc and time_zone is not None:
        raise UsageError("--assume-utc and --time-zone say two things: give one of them")
    if time_zone is not None:
        try:
            known_zone(time_zone)
        except ValueError as error:
            raise UsageError(f"--time-zone: {error}") from error
    ids = {"meterId": meter_id, "vehicleId": vehicle_id}
    if "" in ids.values():
        raise UsageError("--meter-id and --vehicle-id take an id, which is not empty")
    return ColumnMapping(
        stream=None if stream == "auto" else stream,
        reading_type=reading_type,
        renames=renames(rename or []),
        unit=unit,
        time_zone="UTC" if assume_utc else time_zone,
        ids={name: device for name, device in ids.items() if device is not None},
    )


def query(
    sql: Annotated[
        str | None, typer.Argument(help="a SELECT; -: read from standard input", metavar="SQL")
    ] = None,
    tables: Annotated[
        bool, typer.Option("--tables", help="list tables, columns and their units instead")
    ] = False,
    form: Annotated[Format, typer.Option("--format", help="how the rows come out")] = Format.TABLE,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="file for csv, json or parquet")
    ] = None,
    limit: Annotated[int, typer.Option(help="most rows of a table; 0: all", min=0)] = 50,
    data: Data = None,
) -> None:
    """Read the lake with SQL (DataFusion's, close to PostgreSQL's). Nothing is ever written.

    It needs no database and no running stack. Times are UTC, after AT TIME ZONE those of that zone.
    """
    settings = settings_with({"data_folder": data})
    if tables:
        print_tables(settings)
    elif sql is None:
        raise UsageError("give the SQL, or - to read it from standard input, or --tables")
    else:
        run_query(sys.stdin.read() if sql == "-" else sql, settings, form, output, limit)


def verify(
    start: Annotated[
        str | None,
        typer.Option("--from", help="first hour, UTC: 2026-11-20T10, or a day", metavar="HOUR"),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="last hour or day, included", metavar="HOUR")
    ] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="count the ledger anew, replace damaged files that can be computed, and let the "
            "hours that differ be computed again",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the report as JSON")] = False,
    data: Data = None,
) -> None:
    """Recompute hours from the raw heartbeats and compare every table with them.

    Without --from and --to all hours. A file that can't be read is named, with its hours, and what
    does not need it is judged. Exit code 0: all was judged and agrees, 3: something differs or is
    damaged, 4: nothing differs, but hours that wait for their computation, or are counted from what
    can't be read, were not judged. It can run beside everything else.
    """
    given = (("--from", start), ("--to", end))
    arguments = [part for name, value in given if value is not None for part in (name, value)]
    arguments += ["--repair"] * repair + ["--json"] * as_json
    code = run_module("pipelines.verify", arguments, settings_with({"data_folder": data}))
    if code:
        raise typer.Exit(code)


def report(
    day: Annotated[str | None, typer.Option(help="a day [yesterday]", metavar="2026-01-15")] = None,
    week: Annotated[str | None, typer.Option(help="an ISO week", metavar="2026-W03")] = None,
    month: Annotated[str | None, typer.Option(help="a month", metavar="2026-01")] = None,
    depot: Annotated[str | None, typer.Option(help="id of a depot [the fleet]")] = None,
    form: Annotated[
        Literal["html", "pdf", "xlsx", "csv", "parquet"],
        typer.Option("--format", help="what kind of file"),
    ] = "html",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="file [efficiency-PERIOD.html]")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="open the file afterwards")] = False,
    data: Data = None,
) -> None:
    """Render a report of the fleet or a depot from the lake, as it is now.

    Days are those of REPORT_TIME_ZONE or of the depot's own zone. It needs the database and the
    lake, and neither Dagster nor a collector; nothing is stored beside the file.
    """
    given = [
        (option, key)
        for option, key in (("day", day), ("week", week), ("month", month))
        if key is not None
    ]
    if len(given) > 1:
        raise UsageError("--day, --week and --month are three reports: give one of them")
    kind, key = given[0] if given else ("day", f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}")
    try:
        period = parse_period(key)
    except ValueError as error:
        raise UsageError(f"--{kind}: {error}") from error
    if period.kind != kind:
        raise UsageError(f"--{kind}: {key} is a {period.kind}: give it as --{period.kind}")
    name = "-".join(part for part in ("efficiency", depot, key) if part)
    file = output or Path(f"{name}.{form}")
    arguments = [key, f"--format={form}", f"--output={file}"]
    arguments += [f"--depot={depot}"] if depot is not None else []
    code = run_module("pipelines.report", arguments, settings_with({"data_folder": data}))
    if code:
        raise typer.Exit(code)
    typer.echo(file)
    if show and not webbrowser.open(file.absolute().as_uri()):
        raise LocalStackError(f"no browser could be opened; the report is {file}")


def import_files(
    files: Annotated[list[Path], typer.Argument(help="Parquet or CSV", metavar="FILE...")],
    stream: Annotated[
        Literal["auto", "meter", "vehicle"],
        typer.Option(help="whose heartbeats these are; auto: told by each row"),
    ] = "auto",
    reading_type: ReadingType = None,
    rename: Renames = None,
    unit: Unit = None,
    meter_id: MeterId = None,
    vehicle_id: VehicleId = None,
    time_zone: TimeZone = None,
    assume_utc: AssumeUtc = False,
    rejects: Annotated[
        Path | None, typer.Option(help="where refused rows go [FILE.rejects.csv]")
    ] = None,
    data: Data = None,
) -> None:
    """Bring years of history straight into the lake, by the rules of the collector.

    Columns have the names of the lake or of the JSON. An import that was
    interrupted goes on where it ended, and a file that is in already is left alone. Of two
    heartbeats with one device and time an imported one wins over those received before it.
    """
    meaning = column_mapping(
        stream,
        reading_type,
        rename,
        unit=unit,
        meter_id=meter_id,
        vehicle_id=vehicle_id,
        time_zone=time_zone,
        assume_utc=assume_utc,
    )
    options = [f"--mapping={TypeAdapter(ColumnMapping).dump_json(meaning).decode()}"]
    options += [f"--rejects={rejects}"] if rejects else []
    arguments = [*options, "--", *map(str, files)]
    code = run_module("ingestion_api.bulk_import", arguments, settings_with({"data_folder": data}))
    if code:
        raise typer.Exit(code)
