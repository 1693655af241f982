"""Alerts of visits: they open and resolve with the list, and say why and what it costs."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from ingestion_api.alerts.rules import RuleFile
from ingestion_api.alerts.store import Connection
from ingestion_api.alerts.visit_evaluator import evaluate_visits
from tests.maintenance_samples import DAY, store_visits

RULES = RuleFile.model_validate(
    {
        "rules": [
            {"name": "any", "kind": "maintenance_visit", "severity": "info"},
            {
                "name": "large",
                "kind": "maintenance_visit",
                "severity": "warning",
                "threshold": 500,
                "device_kind": "vehicle",
            },
        ]
    }
)
MONEY = {"currency": "EUR", "at_stake_a_year": 90.0, "mending_saves_a_year": 90.0}


@pytest.fixture
def conn(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(
        database_url, autocommit=True, row_factory=dict_row, options="-c TimeZone=UTC"
    ) as connection:
        yield connection


def events(conn: Connection) -> list[tuple[str, str, str]]:
    """Rule, device and type of each event so far; the evaluation is repeated and adds none."""
    evaluate_visits(conn, RULES)
    found: list[list[tuple[str, str, str]]] = []
    for _ in range(2):
        rows = conn.execute(
            "SELECT rule, device_id, type FROM alert_event JOIN alert ON alert.id = alert_id"
            " ORDER BY alert_event.id"
        )
        found.append([(row["rule"], row["device_id"], row["type"]) for row in rows])
        evaluate_visits(conn, RULES)
    assert found[0] == found[1]
    return found[0]


def alerts(conn: Connection) -> list[dict[str, Any]]:
    return conn.execute("SELECT * FROM alert ORDER BY id").fetchall()


def test_an_alert_opens_with_its_visit_and_says_the_reason_and_the_money(
    database_url: str, conn: Connection
) -> None:
    store_visits(
        database_url,
        {"device_id": "M1", **MONEY},
        {"device_id": "M2", "state": "waiting"},
        {"device_id": "V1", "device_kind": "vehicle", "mending_saves_kwh_a_year": 0.0},
        {"device_id": "V2", "device_kind": "vehicle", "at_stake_kwh_a_year": 0.0},
    )
    assert sorted(events(conn)) == [("any", name, "opened") for name in ("M1", "V1", "V2")]
    saves, unknown, neither = alerts(conn)
    assert saves["message"] == "It drifts. Mending saves 300 kWh, 90 EUR a year."
    assert unknown["message"] == "It drifts. 300 kWh a year are measured wrongly."
    assert (saves["value"], saves["since"]) == (300, DAY - timedelta(days=20))
    assert neither["message"] == "It drifts."


def test_it_resolves_when_the_visit_is_closed_by_a_person_and_opens_with_the_next(
    database_url: str, conn: Connection
) -> None:
    store_visits(database_url, {"device_id": "M1"})
    decide = (
        "INSERT INTO maintenance_decision (device_kind, device_id, decided_by, closes, reason)"
        " VALUES ('meter', 'M1', 'kim', %s, 'mended')"
    )
    assert events(conn) == [("any", "M1", "opened")]
    conn.execute(decide, (True,))
    assert events(conn) == [("any", "M1", "opened"), ("any", "M1", "resolved")]
    conn.execute(decide, (False,))
    assert events(conn)[2:] == [("any", "M1", "opened")]
    store_visits(database_url)
    assert events(conn)[3:] == [("any", "M1", "resolved")]


def test_it_follows_the_days_and_is_worse_only_where_a_tenth_more_is_at_stake(
    database_url: str, conn: Connection
) -> None:
    vehicle = {"device_id": "V1", "device_kind": "vehicle", "at_stake_kwh_a_year": 600.0}
    store_visits(database_url, {**vehicle, "date": DAY.date() - timedelta(days=1)})
    opened = [("any", "V1", "opened"), ("large", "V1", "opened")]
    assert events(conn) == opened
    # Under the threshold it stays what it is: the visit is the same.
    store_visits(database_url, {**vehicle, "at_stake_kwh_a_year": 450.0})
    assert events(conn) == opened
    assert {(row["value"], row["worst_value"]) for row in alerts(conn)} == {(450, 600)}
    later = {"date": DAY.date() + timedelta(days=1), "at_stake_kwh_a_year": 700.0}
    store_visits(database_url, {**vehicle, **later})
    assert events(conn)[2:] == [("any", "V1", "worsened"), ("large", "V1", "worsened")]


def test_a_rule_of_a_depot_is_about_its_devices_alone(database_url: str, conn: Connection) -> None:
    conn.execute("INSERT INTO depot (id, name) VALUES ('north', 'North')")
    conn.execute("INSERT INTO device (stream, device_id, depot_id) VALUES ('meter', 'M1', 'north')")
    store_visits(database_url, {"device_id": "M1"}, {"device_id": "M2"})
    rule = {"name": "n", "kind": "maintenance_visit", "severity": "info", "depots": ["north"]}
    evaluate_visits(conn, RuleFile.model_validate({"rules": [rule]}))
    assert [row["device_id"] for row in alerts(conn)] == ["M1"]
