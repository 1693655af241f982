"""`wattlake`: the command line."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from local_stack.cli import commands
from local_stack.cli import devices as device_commands
from local_stack.cli import keys as key_commands
from local_stack.cli import lake as lake_commands
from local_stack.cli import maintenance as maintenance_commands
from local_stack.cli.options import LOCAL, Url
from local_stack.cli.up import up as run_stack
from local_stack.errors import LocalStackError, UsageError
from local_stack.settings import settings_with
from local_stack.simulator.anomalies import Anomalies

_EXIT_CODES = (
    "Exit codes: 0 done, 1 failed (one line on standard error says why), 2 wrong usage, "
    "3 done, but some records were refused or something differs, 4 nothing differs, but not "
    "everything could be judged (verify), 130 interrupted."
)

app = typer.Typer(
    help="Wattlake, the energy data lake of an electric fleet.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
links = typer.Typer(help="Which meter feeds which vehicle.", no_args_is_help=True)
app.add_typer(links, name="links")
app.add_typer(device_commands.devices, name="devices")
app.add_typer(key_commands.keys, name="keys")
app.add_typer(maintenance_commands.maintenance, name="maintenance")


def main() -> None:
    """Run a command; what is wrong is one line, and an exit code."""
    try:
        app()
    except UsageError as error:
        _fail(2, str(error))
    except LocalStackError as error:
        _fail(1, str(error))


@app.command(epilog="Example: **wattlake up --fleet 2000 --data /srv/fleet**")
def up(
    fleet: Annotated[
        int | None,
        typer.Option(help="simulated vehicles, each with a meter; 0: none [500]", min=0),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="folder of everything that is kept [~/.local/share/wattlake; "
            "/var/lib/wattlake for root]"
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="another seed, another fleet [1]")] = None,
    port: Annotated[int | None, typer.Option(help="port of the collector [3000]")] = None,
    dagster_port: Annotated[int | None, typer.Option(help="port of Dagster's pages [3001]")] = None,
    collectors: Annotated[
        int | None,
        typer.Option(help="processes of the collector; 0: as many as processors [1]", min=0),
    ] = None,
) -> None:
    """Start everything on this machine: database, collector, Dagster and a simulated fleet.

    Ctrl-C stops it in order; the next start goes on with the data. DATABASE_URL, in the
    environment or in .env, names a PostgreSQL server of yours instead of the embedded one.
    """
    given = {
        "fleet_size": fleet,
        "data_folder": data,
        "fleet_seed": seed,
        "port": port,
        "dagster_port": dagster_port,
        "collectors": collectors,
    }
    run_stack(settings_with(given))


@app.command(
    epilog="Example: **wattlake replay day.parquet --order-by source_row "
    "--rename charge_energy_added_kwh=kwh_delivered_dc --reading-type register**"
)
def replay(
    files: Annotated[list[Path], typer.Argument(help="Parquet, CSV or NDJSON", metavar="FILE...")],
    url: Url = LOCAL,
    stream: Annotated[
        Literal["auto", "meter", "vehicle"],
        typer.Option(help="whose heartbeats these are; auto: told by the columns"),
    ] = "auto",
    reading_type: lake_commands.ReadingType = None,
    rename: lake_commands.Renames = None,
    order_by: Annotated[
        str | None, typer.Option(help="post in the order of this column, not of the file")
    ] = None,
    unit: lake_commands.Unit = None,
    meter_id: lake_commands.MeterId = None,
    vehicle_id: lake_commands.VehicleId = None,
    time_zone: lake_commands.TimeZone = None,
    assume_utc: lake_commands.AssumeUtc = False,
    batch: Annotated[int, typer.Option(help="heartbeats in one request", min=1, max=10_000)] = 2000,
    patience: Annotated[
        float, typer.Option(help="seconds to wait for a collector that does not take them")
    ] = 300,
    restart: Annotated[bool, typer.Option(help="forget how far the last replay came")] = False,
) -> None:
    """Post recorded heartbeats. The columns have the names of the lake or of the JSON.

    An interrupted replay goes on where it ended. Refused rows are kept in
    FILE.rejected.ndjson.
    """
    meaning = lake_commands.column_mapping(
        stream,
        reading_type,
        rename,
        unit=unit,
        meter_id=meter_id,
        vehicle_id=vehicle_id,
        time_zone=time_zone,
        assume_utc=assume_utc,
    )
    refused = [
        commands.replay(
            file, meaning, order_by, url, batch=batch, patience=patience, restart=restart
        )
        for file in files
    ]
    if any(refused):
        raise typer.Exit(3)


@links.command(
    "import",
    epilog="Example: **wattlake links import links.csv**, whose first line is "
    "`meter_id,vehicle_id,valid_from,valid_to`",
)
def import_links(
    file: Annotated[
        Path, typer.Argument(help="CSV; an empty valid_to is open", metavar="FILE.csv")
    ],
    url: Url = LOCAL,
) -> None:
    """Say which meter fed which vehicle, and when. It can be repeated.

    Refused rows are kept in FILE.rejects.csv.
    """
    if commands.import_links(file, url):
        raise typer.Exit(3)


@app.command(epilog="Example: **wattlake status --url http://collector:3000**")
def status(url: Url = LOCAL) -> None:
    """Tell how the collector and the lake are."""
    commands.status(url)


@app.command(epilog="Example: **wattlake efficiency --hours 24 --worst 20**")
def efficiency(
    hours: Annotated[int, typer.Option(help="newest computed hours to show", min=1, max=720)] = 12,
    worst: Annotated[int, typer.Option(help="vehicles to show of the newest hour", min=0)] = 10,
    before: Annotated[
        datetime | None, typer.Option(help="only hours before this time, UTC [now]")
    ] = None,
    url: Url = LOCAL,
) -> None:
    """Print the fleet's efficiency by hour, and the worst vehicles of the newest hour."""
    end = before.replace(tzinfo=UTC) if before else datetime.now(UTC)
    commands.efficiency(url, hours, worst, end)


@app.command(epilog="Example: **wattlake alerts --limit 20**")
def alerts(
    limit: Annotated[int, typer.Option(help="most alerts to show", min=1)] = 100,
    url: Url = LOCAL,
) -> None:
    """Print the open alerts, the gravest first and of these the newest."""
    commands.alerts(url, limit)


@app.command(
    epilog="Example: **DATABASE_URL=postgresql://user:password@host/database wattlake migrate**"
)
def migrate() -> None:
    """Bring the database at DATABASE_URL to this version."""
    commands.migrate()


@app.command(
    epilog="Example: **wattlake simulate --fleet 50**\n\nWhat is odd in the fleet:\n\n"
    + "\n".join(f"- {odd}" for odd in Anomalies.descriptions())
)
def simulate(
    fleet: Annotated[int, typer.Option(help="vehicles, each with a meter", min=1)] = 500,
    seed: Annotated[int, typer.Option(help="another seed, another fleet")] = 1,
    state: Annotated[
        Path, typer.Option(help="file that remembers how far the fleet was posted")
    ] = Path("wattlake-simulator.json"),
    url: Url = LOCAL,
) -> None:
    """Be a fleet: post its last three hours, then a heartbeat a minute from each device."""
    commands.simulate(url, fleet, seed, state)


app.command(
    epilog='Example: **wattlake query "SELECT vehicle_id, efficiency_percent FROM '
    "vehicle_efficiency_hourly WHERE status = 'critical' ORDER BY hour_start DESC\"**"
)(lake_commands.query)
app.command(
    "import",
    epilog="Example: **wattlake import 2024.parquet 2025.parquet --reading-type register**",
)(lake_commands.import_files)
app.command(epilog="Example: **wattlake report --week 2026-W03 --depot north --format pdf**")(
    lake_commands.report
)
app.command(epilog="Example: **wattlake verify --from 2026-11-01 --to 2026-11-07 --repair**")(
    lake_commands.verify
)


def _fail(code: int, text: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"wattlake: {text}", markup=False)
    sys.exit(code)
