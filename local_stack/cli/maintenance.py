"""`wattlake maintenance`: whom to visit, and what became of it."""

import json
from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated
from urllib.parse import quote

import typer
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from rich import box
from rich.table import Table
from rich.text import Text

from local_stack.cli.commands import collector_at
from local_stack.cli.options import LOCAL, Url
from local_stack.client.collector import Collector, describe
from local_stack.errors import CollectorError
from local_stack.terminal import output_console

maintenance = typer.Typer(
    help="Whom to visit: chargers and vehicles that lose more than they should, or measure "
    "wrongly, the most money at stake first.",
    no_args_is_help=True,
)

_MOST_ON_A_PAGE = 1_000


class Kind(StrEnum):
    """Kind of a device."""

    METER = "meter"
    VEHICLE = "vehicle"


class State(StrEnum):
    """State of a visit."""

    OPEN = "open"
    WAITING = "waiting"
    CLOSED = "closed"


class Visit(BaseModel):
    """A row of the list."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore")

    device_kind: str
    device_id: str
    kind: str
    since: datetime
    confidence: float
    at_stake_kwh_a_year: float
    at_stake_a_year: float | None
    currency: str | None
    reason: str
    closed_at: datetime | None
    closed_by: str | None
    closed_reason: str | None


class _Page(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore")

    date: date | None
    rows: list[Visit]
    next_cursor: str | None


@maintenance.command("list", epilog="Example: **wattlake maintenance list --depot north**")
def show(
    state: Annotated[State, typer.Option(help="rows of this state")] = State.OPEN,
    kind: Annotated[Kind | None, typer.Option(help="only meters, or only vehicles")] = None,
    depot: Annotated[str | None, typer.Option(help="only devices of this depot")] = None,
    group: Annotated[str | None, typer.Option(help="only devices of this group")] = None,
    limit: Annotated[int, typer.Option(help="most rows to show", min=1)] = 100,
    url: Url = LOCAL,
) -> None:
    """Print whom to visit."""
    asked: dict[str, str | int] = {"state": state.value}
    given = {"deviceKind": kind, "depot": depot, "group": group}
    asked |= {name: value for name, value in given.items() if value is not None}
    with collector_at(url) as collector:
        day, found = _visits(collector, asked, limit + 1)
    console = output_console()
    if day is None:
        console.print("no day's condition is known yet: sessions of some weeks are needed")
    elif not found:
        console.print(f"no visit is {state.value} by {day}")
    else:
        console.print(_table(found[:limit]))
        if len(found) > limit:
            console.print(f"there are more than these {limit:,}: --limit N shows more")


@maintenance.command(
    epilog="Example: **wattlake maintenance close meter METER001 'contactor replaced'**"
)
def close(
    kind: Annotated[Kind, typer.Argument(help="meter or vehicle")],
    device: Annotated[str, typer.Argument(help="id of the device", metavar="ID")],
    reason: Annotated[str, typer.Argument(help="what was found or done")],
    url: Url = LOCAL,
) -> None:
    """Say that a device was visited, or need not be; it stays closed for 90 days."""
    _post(url, kind, device, "close", {"reason": reason})
    output_console().print(f"{kind.value} {device}: closed", markup=False)


@maintenance.command(epilog="Example: **wattlake maintenance reopen meter METER001**")
def reopen(
    kind: Annotated[Kind, typer.Argument(help="meter or vehicle")],
    device: Annotated[str, typer.Argument(help="id of the device", metavar="ID")],
    url: Url = LOCAL,
) -> None:
    """Take a closing back."""
    _post(url, kind, device, "reopen", {})
    output_console().print(f"{kind.value} {device}: open again", markup=False)


def _post(url: str, kind: Kind, device: str, what: str, body: dict[str, str]) -> None:
    path = f"/v1/maintenance/{kind.value}/{quote(device, safe='')}/{what}"
    with collector_at(url) as collector:
        response = collector.post(path, json.dumps(body).encode())
    if not response.is_success:
        raise CollectorError(f"{url} answers {describe(response)}")


def _visits(
    collector: Collector, asked: dict[str, str | int], count: int
) -> tuple[date | None, list[Visit]]:
    found: list[Visit] = []
    while True:
        asked["limit"] = min(count - len(found), _MOST_ON_A_PAGE)
        page = collector.read(_Page, "/v1/maintenance", **asked)
        found += page.rows
        if page.next_cursor is None or len(found) >= count:
            return page.date, found
        asked["cursor"] = page.next_cursor


def _table(visits: Sequence[Visit]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("device", overflow="fold")
    table.add_column("what", no_wrap=True)
    table.add_column("since", no_wrap=True)
    table.add_column("sure", justify="right", no_wrap=True)
    table.add_column("at stake a year", justify="right")
    table.add_column("why", overflow="fold")
    for visit in visits:
        table.add_row(
            Text(f"{visit.device_kind} {visit.device_id}"),
            visit.kind.replace("_", " "),
            f"{visit.since:%Y-%m-%d}",
            f"{visit.confidence:.0%}",
            _stake(visit),
            Text(_why(visit)),
        )
    return table


def _stake(visit: Visit) -> str:
    energy = f"{visit.at_stake_kwh_a_year:,.0f} kWh"
    if visit.at_stake_a_year is None:
        return energy
    return f"{visit.at_stake_a_year:,.0f} {visit.currency}, {energy}"


def _why(visit: Visit) -> str:
    if visit.closed_at is None:
        return visit.reason
    by = f" by {visit.closed_by}" if visit.closed_by else ""
    return f"{visit.reason} Closed {visit.closed_at:%Y-%m-%d}{by}: {visit.closed_reason}"
