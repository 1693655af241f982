"""Prices of the pipelines: the tariffs, which of them meters have, and days that they change."""

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path

import psycopg

from lake import EnergySettings
from lake.costs import Pricing, Tariffs, read_tariffs, repriced
from warehouse_sql.named_queries import query


def read_pricing(connection: psycopg.Connection, settings: EnergySettings) -> Pricing | None:
    """The prices of now; None: there is no TARIFF_FILE. Raises BadTariff."""
    tariffs = _tariffs(settings)
    return None if tariffs is None else Pricing(tariffs, _of_meters(connection))


def known_pricing(connection: psycopg.Connection) -> Pricing | None:
    """The prices that TARIFF_FILE had when its changes were last looked for; None: none.

    Who computes with them needs no file. Of what they are later, days are noted as repriced.
    """
    tariffs = _known(connection)
    return None if tariffs is None else Pricing(tariffs, _of_meters(connection))


def note_changed_tariffs(connection: psycopg.Connection, settings: EnergySettings) -> None:
    """Let each computed day be computed again whose prices TARIFF_FILE has changed.

    Raises BadTariff.
    """
    tariffs = _tariffs(settings)
    known = _known(connection)
    if tariffs == known:
        return
    days = [day for (day,) in connection.execute(query("days_computed"))]
    changed = repriced(known, tariffs, set(_of_meters(connection).values()), days)
    with connection.transaction():
        connection.execute(query("reprice_days"), {"days": changed})
        text = "null" if tariffs is None else tariffs.model_dump_json()
        connection.execute(query("keep_tariffs"), {"content": text})


def repriced_days(connection: psycopg.Connection) -> dict[date, datetime]:
    """The days of which the costs are other ones by now, and when that was noted."""
    return dict(connection.execute(query("repriced_days")).fetchall())


def mark_priced(connection: psycopg.Connection, noted: Mapping[date, datetime]) -> None:
    """Note that the tables of days have the costs of now; `noted` are `repriced_days` of before.

    Not of a day that was noted again meanwhile. The sessions of the day are still to be priced.
    """
    asked = {"days": list(noted), "noted": list(noted.values())}
    connection.execute(query("mark_priced"), asked)


def days_of_unpriced_sessions(connection: psycopg.Connection) -> dict[date, datetime]:
    """The days whose tables have the costs of now and whose sessions do not, and when noted."""
    return dict(connection.execute(query("days_of_unpriced_sessions")).fetchall())


def mark_sessions_priced(connection: psycopg.Connection, noted: Mapping[date, datetime]) -> None:
    """Take down that days and their sessions have the costs of now, if not noted again since."""
    asked = {"days": list(noted), "noted": list(noted.values())}
    connection.execute(query("mark_sessions_priced"), asked)


def _known(connection: psycopg.Connection) -> Tariffs | None:
    (content,) = connection.execute(query("known_tariffs")).fetchone() or (None,)
    return None if content is None else Tariffs.model_validate(content)


def _tariffs(settings: EnergySettings) -> Tariffs | None:
    return read_tariffs(Path(settings.tariff_file)) if settings.tariff_file else None


def _of_meters(connection: psycopg.Connection) -> dict[str, str]:
    return dict(connection.execute(query("tariffs_of_meters")).fetchall())
