"""`wattlake keys`: API keys of the collectors of a database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from local_stack.cli.commands import database
from local_stack.errors import LocalStackError, UsageError
from local_stack.terminal import output_console
from warehouse_sql.api_keys import KeyNotMade, KeyScope, create_key, list_keys, revoke_key
from warehouse_sql.errors import WarehouseError

keys = typer.Typer(
    help="Who may call the collectors that use the database at DATABASE_URL. Without any key they "
    "serve only loopback addresses; with the first one, everybody needs a key.",
    no_args_is_help=True,
)


Name = Annotated[str, typer.Argument(help="who the key is for", metavar="NAME")]


@keys.command(
    epilog="Example: **wattlake keys create gateway-7 --scope ingest --device-prefix VEH-A "
    "--rate 1000**"
)
def create(
    name: Name,
    scope: Annotated[
        list[KeyScope],
        typer.Option(help="what it may: post heartbeats, read, or everything; can be repeated"),
    ],
    device_prefix: Annotated[
        str | None,
        typer.Option(
            help="it may write only for devices whose id begins so; a vehicle may still name any "
            "meter that it charges from"
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="records a second that it may send or read, by all collectors together; at once "
            "each of them takes ten seconds' worth; a request that reads is one record"
        ),
    ] = None,
) -> None:
    """Make a key and print it: the only time that it is shown.

    The key is all that stands on standard output.
    """
    if rate is not None and not 0 < rate < float("inf"):
        raise UsageError("--rate is a number of records a second, more than 0")
    with _errors_of_the_database():
        dsn = database()
        key = create_key(dsn, name, scope, device_prefix=device_prefix, records_per_second=rate)
        is_first = len(list_keys(dsn)) == 1
    typer.echo(key)
    _remark("keep it now, it is not shown again; collectors take it within seconds")
    if is_first:
        _remark("it is the first key: from now on everybody needs one, also on this machine")


@keys.command("list", epilog="Example: **wattlake keys list --revoked**")
def show(
    revoked: Annotated[bool, typer.Option("--revoked", help="show revoked keys, too")] = False,
) -> None:
    """Show the keys and what they may, never their secrets."""
    with _errors_of_the_database():
        found = list_keys(database(), revoked_too=revoked)
    if not found:
        output_console().print("there is no key: collectors serve only loopback addresses")
        return
    table = Table(box=None)
    for column in ("name", "id", "scopes", "devices", "records/s", "made (UTC)"):
        table.add_column(column, justify="right" if column == "records/s" else "left")
    if revoked:
        table.add_column("revoked (UTC)")
    for key in found:
        rate = key.records_per_second
        row = [
            key.name,
            key.id,
            ", ".join(key.scopes),
            f"{key.device_prefix}..." if key.device_prefix else "all",
            "no limit" if rate is None else f"{rate:g}",
            f"{key.created_at:%Y-%m-%d %H:%M}",
        ]
        if revoked:
            row.append(f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "")
        table.add_row(*row)
    output_console().print(table)


@keys.command(epilog="Example: **wattlake keys revoke gateway-7**")
def revoke(name: Name) -> None:
    """End a key: collectors refuse it within seconds."""
    with _errors_of_the_database():
        dsn = database()
        if not revoke_key(dsn, name):
            raise LocalStackError(f"no living key is called {name!r}: see `wattlake keys list`")
        is_last = not list_keys(dsn)
    typer.echo(f"revoked {name}; collectors refuse it within seconds")
    if is_last:
        _remark("no key is left: collectors serve only loopback addresses, which need none")


@contextmanager
def _errors_of_the_database() -> Iterator[None]:
    try:
        yield
    except KeyNotMade as error:
        raise UsageError(str(error)) from error
    except WarehouseError as error:
        raise LocalStackError(str(error)) from error


def _remark(text: str) -> None:
    Console(stderr=True, highlight=False).print(text, soft_wrap=True, markup=False)
