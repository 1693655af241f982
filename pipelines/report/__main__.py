"""A report rendered from the lake, for `wattlake report`; nothing of it is stored."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from pydantic import ValidationError

from lake import EnergySettings, Lake, LakeError, LakeSettings
from lake.costs import BadTariff
from lake.delta import READ_ERRORS
from lake.reports import FORMS, Scope, parse_period
from pipelines.compute.condition import judged_days
from pipelines.compute.places import read_places
from pipelines.compute.pricing import read_pricing
from pipelines.report.content import content_of
from pipelines.report.figures import FigureReader
from pipelines.report.render import render
from pipelines.report.tables import rows_of
from pipelines.report.window import PinnedTables
from pipelines.settings import PipelineSettings
from warehouse_sql.settings import DatabaseSettings, settings_fault


class NoReportError(ValueError):
    """There can be no such report; the text says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Render a report into a file; one line on standard error says what is wrong."""
    given = _parser().parse_args(arguments)
    try:
        content = _rendered(given.period, given.depot, given.format)
    except ValidationError as error:
        return _complain(f"{settings_fault(error)}; set it in the environment or in .env")
    except (LakeError, BadTariff, NoReportError, OSError, psycopg.Error) as error:
        return _complain(str(error))
    except READ_ERRORS as error:
        return _complain(f"the lake can't be read: {error}; wattlake verify says more")
    try:
        given.output.write_bytes(content)
    except OSError as error:
        return _complain(f"can't write {given.output}: {error.strerror}")
    return 0


def _rendered(key: str, depot: str | None, form: str) -> bytes:
    settings, ours = EnergySettings(), PipelineSettings()
    lake, period, scope = Lake.from_settings(LakeSettings()), parse_period(key), Scope(depot)
    # The environment or .env provides the field.
    with psycopg.connect(DatabaseSettings().dsn, connect_timeout=10) as connection:
        places = read_places(connection, ours.report_time_zone)
        pricing = read_pricing(connection, settings)
        judged = judged_days(connection)
    if scope not in places.scopes:
        known = ", ".join(one.depot for one in places.scopes if one.depot) or "none"
        raise NoReportError(
            f"no charger belongs to a depot {depot!r}; depots with chargers: {known}"
        )
    now = datetime.now(UTC)
    if period.window(places.zone(scope))[0] >= now:
        raise NoReportError(f"{key} has not begun")
    reader = FigureReader(PinnedTables(lake), places, settings, pricing, judged, now)
    figures = reader.figures(period, scope)
    content = content_of(figures, 0, (), settings, lake.uri, ours.public_url)
    return render(form, content, figures, rows_of(figures), settings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("wattlake report")
    parser.add_argument("period")
    parser.add_argument("--depot")
    parser.add_argument("--format", choices=list(FORMS), default="html")
    parser.add_argument("--output", type=Path, required=True)
    return parser


def _complain(text: str) -> int:
    sys.stderr.write(f"wattlake: {' '.join(text.split())}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
