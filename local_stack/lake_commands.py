"""`wattlake query` and `wattlake verify`: what is in the lake, and whether it is right."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from local_stack.child_command import run_module
from local_stack.errors import UsageError
from local_stack.query import Format, print_tables
from local_stack.query import query as run_query
from local_stack.settings import settings_with

Data = Annotated[
    Path | None,
    typer.Option(help="data folder of `wattlake up`, where LAKE_URI does not name the lake"),
]


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

    It needs no database and no running stack. Times are UTC.
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
            help="count the ledger anew and let the hours that differ be computed again",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the report as JSON")] = False,
    data: Data = None,
) -> None:
    """Recompute hours from the raw heartbeats and compare every table with them.

    Without --from and --to all hours. Exit code 0: all agree, 3: something differs. Hours that
    wait for their computation are not judged. It can run beside everything else.
    """
    given = (("--from", start), ("--to", end))
    arguments = [part for name, value in given if value is not None for part in (name, value)]
    arguments += ["--repair"] * repair + ["--json"] * as_json
    code = run_module("pipelines.verify", arguments, settings_with({"data_folder": data}))
    if code:
        raise typer.Exit(code)
