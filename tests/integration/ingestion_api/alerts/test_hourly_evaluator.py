"""Alerts of computed efficiency, and what the database itself promises of alerts."""

import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from ingestion_api.alerts.hourly_evaluator import evaluate_hours
from ingestion_api.alerts.leased_worker import LeasedWorker
from ingestion_api.alerts.live_evaluator import LiveEvaluator, apply_rules
from ingestion_api.alerts.rule_file import read_rules
from ingestion_api.alerts.rules import RuleFile
from ingestion_api.alerts.store import Connection, end_silences
from lake import EnergySettings
from tests.harness.waiting import wait_for
from warehouse_sql.named_queries import query

ENERGY = EnergySettings(_env_file=None)
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
RULES = """
rules:
  - {name: bad, kind: efficiency_status, statuses: [critical], clear: 1, for: 2h, severity: info}
  - {name: odd, kind: efficiency_status, statuses: [implausible], severity: warning}
  - {name: drop, kind: efficiency_drop, threshold: 5, clear: 3, severity: info}
"""
LIVE_RULES = """
rules:
  - {name: hot, kind: battery_temperature, threshold: 60, for: 2m, severity: info}
  - {name: silent, kind: silent, threshold: 10m, severity: info}
  - {name: losing, kind: soc_falling, threshold: 90, clear: 1, severity: info}
"""

OF_ALL = {"depots": None, "groups": None}


@pytest.fixture
def conn(database_url: str) -> Iterator[Connection]:
    with connect(database_url) as connection:
        yield connection


@pytest.fixture
def rules(tmp_path: Path) -> RuleFile:
    file = tmp_path / "rules.yaml"
    file.write_text(RULES)
    return read_rules(str(file))


def connect(database_url: str) -> Connection:
    return psycopg.connect(
        database_url, autocommit=True, row_factory=dict_row, options="-c TimeZone=UTC"
    )


def publish(conn: Connection, vehicle_id: str, hours: Mapping[int, float | None]) -> None:
    """Efficiencies by hours before now, None: not rated; what was there is replaced."""
    with conn.transaction():
        for ago, efficiency in hours.items():
            hour = NOW - timedelta(hours=ago)
            conn.execute(
                "DELETE FROM vehicle_efficiency_hourly WHERE vehicle_id = %s AND hour_start = %s",
                (vehicle_id, hour),
            )
            conn.execute(
                # Of 20 kWh that the meter told half flowed while nothing was known of the vehicle.
                "INSERT INTO vehicle_efficiency_hourly (hour_start, vehicle_id, status,"
                " energy_ac_kwh, energy_dc_kwh, matched_energy_ac_kwh, matched_energy_dc_kwh,"
                " efficiency_percent, data_points_meter,"
                " data_points_vehicle, coverage_ac, coverage_dc, longest_gap_seconds, resets,"
                " duplicates, meter_ids) VALUES (%s, %s, %s, 20, %s, 10, %s, %s, 60, 60, 1, 1, 60,"
                " 0, 0, ARRAY['M'])",
                (hour, vehicle_id, status(efficiency), *[(efficiency or 0) / 10] * 2, efficiency),
            )
        conn.execute(query("note_publication"))


def status(efficiency: float | None) -> str:
    for name, limit in (
        ("implausible", 100),
        ("excellent", 90),
        ("good", 84.999),
        ("warning", 79.999),
    ):
        if efficiency is not None and efficiency > limit:
            return name
    return "idle" if efficiency is None else "critical"


def look(conn: Connection, rules: RuleFile) -> None:
    """Look twice: a repeat changes nothing."""
    evaluate_hours(conn, rules, ENERGY)
    before = events(conn)
    conn.execute(query("note_publication"))
    evaluate_hours(conn, rules, ENERGY)
    assert events(conn) == before


def events(conn: Connection) -> list[tuple[str, str, str]]:
    found = conn.execute(
        "SELECT rule, device_id, type FROM alert_event JOIN alert ON alert.id = alert_id"
        " WHERE type <> 'worsened' ORDER BY alert_event.id"
    )
    return [(row["rule"], row["device_id"], row["type"]) for row in found]


def alert(conn: Connection) -> dict[str, Any]:
    """The newest one."""
    row = conn.execute("SELECT * FROM alert ORDER BY id DESC LIMIT 1").fetchone()
    assert row is not None
    return row


def test_an_efficiency_alert_needs_its_hours_and_ends_a_point_above_its_limit(
    conn: Connection, rules: RuleFile
) -> None:
    publish(conn, "VEH1", {6: 75.0})
    look(conn, rules)
    assert events(conn) == []
    publish(conn, "VEH1", {5: None, 4: 70.0})  # what is not rated says nothing
    look(conn, rules)
    assert events(conn) == [("bad", "VEH1", "opened")]
    opened = alert(conn)
    assert (opened["value"], opened["worst_value"]) == (70.0, 70.0)
    assert opened["since"] == NOW - timedelta(hours=6)
    publish(conn, "VEH1", {3: 80.5})
    look(conn, rules)
    assert alert(conn)["value"] == 80.5
    publish(conn, "VEH1", {2: 82.0})
    look(conn, rules)
    assert events(conn)[1:] == [("bad", "VEH1", "resolved")]
    assert alert(conn)["worst_value"] == 70.0


def test_a_rule_of_a_depot_judges_its_vehicles_until_they_leave(
    conn: Connection, tmp_path: Path
) -> None:
    file = tmp_path / "north.yaml"
    file.write_text(RULES.replace("for: 2h,", "depots: [north],"))
    north = read_rules(str(file))
    conn.execute("INSERT INTO depot (id) VALUES ('north'), ('south')")
    conn.execute(
        "INSERT INTO device (stream, device_id, depot_id)"
        " VALUES ('vehicle', 'VEH1', 'north'), ('vehicle', 'VEH2', 'south')"
    )
    for vehicle in ("VEH1", "VEH2", "VEH3"):
        publish(conn, vehicle, {3: 70.0})
    look(conn, north)
    assert events(conn) == [("bad", "VEH1", "opened")]
    conn.execute("UPDATE device SET depot_id = 'south' WHERE device_id = 'VEH1'")
    conn.execute(query("note_publication"))
    look(conn, north)
    assert events(conn)[1:] == [("bad", "VEH1", "resolved")]


def test_late_data_is_judged_as_if_it_had_been_there(conn: Connection, rules: RuleFile) -> None:
    publish(conn, "VEH1", {6: 75.0, 5: 75.0, 4: 75.0})
    look(conn, rules)
    publish(conn, "VEH1", {5: 92.0, 4: 92.0})
    look(conn, rules)
    publish(conn, "VEH2", {5: 92.0, 4: 75.0})
    look(conn, rules)
    publish(conn, "VEH2", {5: 75.0})
    look(conn, rules)
    assert events(conn) == [
        ("bad", "VEH1", "opened"),
        ("bad", "VEH1", "resolved"),
        ("bad", "VEH2", "opened"),
    ]


def test_hours_of_long_ago_open_no_alert(conn: Connection, rules: RuleFile) -> None:
    publish(conn, "VEH1", {ago: 70.0 for ago in range(60, 50, -1)})
    look(conn, rules)
    assert events(conn) == []


def test_a_vehicle_is_compared_with_its_own_last_weeks(conn: Connection, rules: RuleFile) -> None:
    publish(conn, "VEH1", {ago: 95.0 for ago in range(80, 60, -1)} | {2: 89.0})
    publish(conn, "VEH2", {ago: 90.0 for ago in range(80, 60, -1)} | {2: 89.0})
    publish(conn, "VEH3", {ago: 95.0 for ago in range(66, 60, -1)} | {2: 89.0})  # too few
    look(conn, rules)
    assert events(conn) == [("drop", "VEH1", "opened")]
    assert alert(conn)["value"] == 6.0
    assert "95.0 %" in alert(conn)["message"]


def test_an_implausible_hour_is_an_alert_of_its_own(conn: Connection, rules: RuleFile) -> None:
    publish(conn, "VEH|1'", {3: 130.0})
    look(conn, rules)
    publish(conn, "VEH|1'", {2: 93.0})
    look(conn, rules)
    assert events(conn) == [("odd", "VEH|1'", "opened"), ("odd", "VEH|1'", "resolved")]


def test_alerts_end_with_their_rule(conn: Connection, rules: RuleFile) -> None:
    publish(conn, "VEH1", {3: 130.0, 2: 70.0, 1: 70.0})
    look(conn, rules)
    apply_rules(conn, rules)
    assert [event for event in events(conn) if event[2] == "opened"] == events(conn)
    none = RuleFile(rules=())
    live = LiveEvaluator(none, EnergySettings(), 300, 4)
    live.begin(conn)
    live.evaluate(conn)
    look(conn, none)
    assert conn.execute("SELECT FROM alert WHERE resolved_at IS NULL").fetchall() == []


def live_look(tmp_path: Path) -> LiveEvaluator:
    """By rules on heartbeats."""
    file = tmp_path / "live.yaml"
    file.write_text(LIVE_RULES)
    return LiveEvaluator(read_rules(str(file)), ENERGY, 300, 4)


def test_a_clock_that_was_ahead_does_not_stop_the_watching(
    conn: Connection, tmp_path: Path
) -> None:
    ahead = datetime.now(UTC) + timedelta(days=3)
    live = live_look(tmp_path)
    live.begin(conn)
    conn.execute(
        "UPDATE alert_progress SET looked_at = %(a)s, watching_since = %(a)s", {"a": ahead}
    )
    live.evaluate(conn)
    progress = conn.execute("SELECT looked_at, watching_since FROM alert_progress").fetchone()
    assert progress is not None
    assert max(progress.values()) < ahead - timedelta(days=2)

    conn.execute("UPDATE alert_progress SET watching_since = now() - interval '1 hour'")
    conn.execute(
        "INSERT INTO meter_live_state (meter_id, timestamp, reading_type, received_at)"
        " VALUES ('ahead', %(a)s, 'interval', %(a)s), ('well', now(), 'interval', now())",
        {"a": ahead},
    )
    live.evaluate(conn)
    opened = conn.execute("SELECT device_id, value, since FROM alert").fetchall()
    assert [row["device_id"] for row in opened] == ["ahead"]
    assert 3500 < opened[0]["value"] < 3700
    conn.execute("UPDATE meter_live_state SET timestamp = now() WHERE meter_id = 'ahead'")
    live.evaluate(conn)
    assert conn.execute("SELECT state FROM alert").fetchall() == [{"state": "resolved"}]


def test_the_history_of_devices_long_gone_opens_no_alert(conn: Connection, tmp_path: Path) -> None:
    live = live_look(tmp_path)
    live.begin(conn)
    live.evaluate(conn)
    conn.execute("UPDATE alert_progress SET watching_since = now() - interval '1 hour'")
    conn.execute(
        "INSERT INTO meter_live_state (meter_id, timestamp, reading_type, received_at) VALUES"
        " ('gone', '2014-03-01Z', 'interval', now()),"
        " ('gone yesterday', now() - interval '1 day', 'interval', now()),"
        " ('fell silent', now() - interval '20 minutes', 'interval', now() - interval '19min'),"
        " ('was long in coming', now() - interval '40 minutes', 'interval', now())"
    )
    conn.execute(
        "INSERT INTO vehicle_live_state (vehicle_id, timestamp, reading_type, battery_temp,"
        " received_at) VALUES ('gone', '2014-03-01Z', 'interval', 70, now())"
    )
    live.evaluate(conn)
    assert conn.execute("SELECT rule, device_id FROM alert ORDER BY device_id").fetchall() == [
        {"rule": "silent", "device_id": "fell silent"},
        {"rule": "silent", "device_id": "was long in coming"},
    ]
    assert conn.execute("SELECT FROM alert_pending").fetchall() == []


def test_a_slow_device_that_reports_in_time_is_no_silence_and_one_that_stops_is(
    conn: Connection, tmp_path: Path
) -> None:
    live = live_look(tmp_path)
    live.begin(conn)
    live.evaluate(conn)
    conn.execute("UPDATE alert_progress SET watching_since = now() - interval '1 day'")
    conn.execute(
        "INSERT INTO meter_live_state"
        " (meter_id, timestamp, reading_type, received_at, interval_seconds, cadence_seconds)"
        " SELECT id, now() - age, 'interval', now() - age, declared, measured FROM (VALUES"
        " ('declared', interval '59 minutes', 900, NULL), ('measured', '59 minutes', NULL, 900),"
        " ('declared, stopped', '61 minutes', 900, NULL), ('stopped', '61 minutes', NULL, 900),"
        " ('fast, stopped', '11 minutes', 1, 1), ('fast', '9 minutes', 1, 1))"
        " AS told (id, age, declared, measured)"
    )
    silent = "SELECT device_id FROM alert WHERE resolved_at IS NULL ORDER BY device_id"
    live.evaluate(conn)
    found = [row["device_id"] for row in conn.execute(silent)]
    assert found == ["declared, stopped", "fast, stopped", "stopped"]
    # What is learned of a device afterwards ends what was told too soon.
    conn.execute("UPDATE meter_live_state SET cadence_seconds = 3600 WHERE meter_id = 'stopped'")
    live.evaluate(conn)
    live.evaluate(conn)
    found = [row["device_id"] for row in conn.execute(silent)]
    assert found == ["declared, stopped", "fast, stopped"]


def test_what_a_rule_saw_of_a_clock_ahead_does_not_hold_it_up(
    conn: Connection, tmp_path: Path
) -> None:
    now = datetime.now(UTC)

    def hear(at: datetime, temperature: float, soc: float) -> None:
        conn.execute("DELETE FROM vehicle_live_state")
        conn.execute(
            "INSERT INTO vehicle_live_state (vehicle_id, timestamp, battery_temp, soc, meter_id,"
            " reading_type, received_at) VALUES ('V', %(at)s, %(t)s, %(soc)s, 'M', 'interval',"
            " %(at)s)",
            {"at": at, "t": temperature, "soc": soc},
        )
        conn.execute(
            "INSERT INTO meter_live_state (meter_id, timestamp, kwh_consumed_ac, reading_type,"
            " received_at) VALUES ('M', %(at)s, 1, 'interval', %(at)s)"
            " ON CONFLICT (meter_id) DO UPDATE SET timestamp = excluded.timestamp",
            {"at": at},
        )

    live = live_look(tmp_path)
    live.begin(conn)
    ahead = LiveEvaluator(live._rules, ENERGY, 4 * 86_400, 4)  # as a collector whose clock is ahead
    hear(now + timedelta(days=3), 70, 80)
    ahead.evaluate(conn)
    for ago, soc in ((3, 50), (2, 51), (0, 51)):
        hear(now - timedelta(minutes=ago), 70, soc)
        live.evaluate(conn)
    assert conn.execute("SELECT rule FROM alert").fetchall() == [{"rule": "hot"}]
    conn.execute("UPDATE alert SET since = %s", [now + timedelta(days=3)])  # opened by it
    hear(now + timedelta(seconds=1), 71, 51)
    live.evaluate(conn)
    found = conn.execute("SELECT since FROM alert").fetchone()
    assert found == {"since": now + timedelta(seconds=1)}
    peak = conn.execute("SELECT soc FROM alert_soc_peak").fetchall()
    assert peak == [{"soc": 51}]  # not the one of a time that is still to come


def test_an_hour_of_the_future_decides_no_alert(conn: Connection, rules: RuleFile) -> None:
    publish(conn, "VEH1", {-72: 70.0, 3: 70.0, 2: 70.0, 1: 95.0})
    publish(conn, "VEH2", {-72: 95.0, 3: 70.0, 2: 70.0, 1: 70.0})
    look(conn, rules)
    found = conn.execute("SELECT device_id FROM alert WHERE resolved_at IS NULL").fetchall()
    assert found == [{"device_id": "VEH2"}]


def test_a_webhook_that_was_put_off_by_a_clock_ahead_is_due(conn: Connection) -> None:
    told = {"webhook": "w"}
    conn.execute(query("register_webhook"), told)
    for pause, is_due in ((60, False), (3 * 86_400, True), (-1, True)):
        failure = told | {"attempts": 1, "error": "x", "pause": pause}
        conn.execute(query("webhook_failed"), failure)
        found = conn.execute(query("next_webhook_event"), told | OF_ALL).fetchone()
        assert found is not None
        assert found["is_due"] is is_due


def test_an_open_alert_follows_the_severity_of_its_rule_and_tells_it_once(
    conn: Connection, rules: RuleFile
) -> None:
    publish(conn, "VEH1", {2: 70.0, 1: 70.0})
    publish(conn, "VEH2", {1: 130.0})
    look(conn, rules)
    before = events(conn)
    graver = [rule.model_copy(update={"severity": "critical"}) for rule in rules.hourly[:1]]
    changed = RuleFile(rules=(*graver, *rules.hourly[1:]))
    for _ in range(2):
        apply_rules(conn, changed)
    assert events(conn) == [*before, ("bad", "VEH1", "updated")]
    told = conn.execute("SELECT alert ->> 'severity' AS severity FROM alert_event ORDER BY id")
    assert [row["severity"] for row in told][-1] == "critical"
    assert conn.execute("SELECT severity FROM alert WHERE rule = 'odd'").fetchall() == [
        {"severity": "warning"}
    ]


def test_when_the_time_of_a_silence_is_over_an_open_alert_is_told_to_webhooks_once(
    conn: Connection, rules: RuleFile
) -> None:
    webhook = {"webhook": "one"}
    conn.execute(query("register_webhook"), webhook)
    silence = {"device_kind": "vehicle", "until": NOW + timedelta(hours=2), "by": None}
    for vehicle_id in ("VEH1", "VEH2", "VEH3"):
        conn.execute(query("keep_silence"), silence | {"rule": "odd", "device_id": vehicle_id})
        publish(conn, vehicle_id, {3: 130.0})
    look(conn, rules)
    publish(conn, "VEH2", {2: 93.0})  # over before its silence is
    look(conn, rules)
    conn.execute("UPDATE alert SET silenced_until = now() WHERE device_id <> 'VEH3'")
    before = events(conn)
    for _ in range(2):
        end_silences(conn)
    assert events(conn) == [*before, ("odd", "VEH1", "unsilenced")]
    event = conn.execute(query("next_webhook_event"), webhook | OF_ALL).fetchone()
    assert event is not None
    assert (event["type"], event["alert"]["deviceId"]) == ("unsilenced", "VEH1")
    assert event["alert"]["silencedUntil"] is None


def test_events_become_visible_in_the_order_of_their_ids(
    conn: Connection, database_url: str, rules: RuleFile
) -> None:
    publish(conn, "VEH1", {3: 130.0})
    look(conn, rules)
    add = {"ids": [alert(conn)["id"]], "types": ["silenced"], "by": None}
    with connect(database_url) as early, connect(database_url) as late:
        with early.transaction():
            early.execute(query("lock_alert_events"))
            early.execute(query("insert_alert_events"), add)

            def insert_late() -> None:
                with late.transaction():
                    late.execute(query("lock_alert_events"))
                    late.execute(query("insert_alert_events"), add)

            thread = threading.Thread(target=insert_late)
            thread.start()
            wait_for(
                lambda: conn.execute(
                    "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                ).fetchall()
            )
            assert len(events(conn)) == 1  # neither shows, the later one least of all
        thread.join(30)
    ids = [row["id"] for row in conn.execute("SELECT id FROM alert_event ORDER BY at, id")]
    assert ids == sorted(ids)
    assert len(ids) == 3


def test_old_alerts_are_forgotten_once_every_webhook_was_told(
    conn: Connection, rules: RuleFile
) -> None:
    publish(conn, "VEH1", {3: 130.0})
    look(conn, rules)
    publish(conn, "VEH1", {2: 93.0})
    conn.execute(query("register_webhook"), {"webhook": "slow"})
    look(conn, rules)
    conn.execute("UPDATE alert SET resolved_at = now() - interval '2 days'")
    newest = conn.execute("SELECT max(id) AS id FROM alert_event").fetchone()
    forget = {"seconds": 86_400, "webhooks": ["slow"]}
    conn.execute(query("forget_alerts"), forget)
    assert len(events(conn)) == 2
    conn.execute(query("webhook_delivered"), {"webhook": "slow", **(newest or {})})
    conn.execute(query("forget_alerts"), forget)
    assert events(conn) == []
    bounds = conn.execute(query("alert_event_bounds")).fetchone()
    assert bounds is not None
    assert bounds["newest"] == bounds["forgotten_event"] == (newest or {})["id"]


def test_the_position_of_a_stream_stays_good_though_newer_events_than_it_are_forgotten(
    conn: Connection, rules: RuleFile
) -> None:
    publish(conn, "VEH1", {3: 130.0})
    look(conn, rules)
    publish(conn, "VEH2", {3: 130.0})
    look(conn, rules)
    conn.execute("UPDATE alert SET resolved_at = '2020-01-01Z' WHERE device_id = 'VEH2'")
    conn.execute(query("forget_alerts"), {"seconds": 86_400, "webhooks": []})
    assert len(events(conn)) == 1
    bounds = conn.execute(query("alert_event_bounds")).fetchone()
    assert bounds is not None
    assert bounds["newest"] >= bounds["forgotten_event"]


def test_who_has_vanished_loses_the_lease_within_seconds(database_url: str) -> None:
    settings: list[str] = []

    def look_at(connection: Connection) -> None:
        found = connection.execute("SELECT name, setting FROM pg_settings WHERE name ~ 'keepalive'")
        settings.extend(f"{row['name']}={row['setting']}" for row in found)

    work = LeasedWorker("a work", database_url, 5, look_at)
    work.start()
    wait_for(lambda: settings)
    work.stop(10)
    assert {"tcp_keepalives_idle=5", "tcp_keepalives_interval=5"} <= set(settings)
