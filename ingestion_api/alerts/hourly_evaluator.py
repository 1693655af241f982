"""Evaluation of the efficiency rules on published hours."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final

from psycopg.rows import DictRow

from ingestion_api.alerts.evaluation import HourReading, lower_is_worse, observe_hour
from ingestion_api.alerts.messages import hour_message
from ingestion_api.alerts.rules import EfficiencyDrop, EfficiencyStatus, HourRule, RuleFile
from ingestion_api.alerts.state_machine import Condition, step
from ingestion_api.alerts.store import Changes, Connection, Subject
from lake import EnergySettings
from warehouse_sql.named_queries import query

_RECENT: Final = timedelta(hours=48)  # what is older opens no alert, however late it is published
_LEAST_HOURS: Final = 10  # with a ratio, for a vehicle to have a usual efficiency


def evaluate_hours(conn: Connection, rules: RuleFile, energy: EnergySettings) -> None:
    """Evaluate the last two days if something was published since; one transaction.

    What holds follows from the published hours alone, each vehicle's in their order, begun with the
    alerts that are open. So hours that are published again after late data count as they are now.
    """
    with conn.transaction():
        found = conn.execute(query("alert_publication")).fetchone()
        if found is None or not found["is_new"]:
            return
        if rules.hourly:
            _evaluate_all(conn, rules.hourly, energy)
        conn.execute(query("alert_publication_evaluated"), found)


def _evaluate_all(conn: Connection, rules: list[HourRule], energy: EnergySettings) -> None:
    names = {"rules": [rule.name for rule in rules]}
    drops = [rule.threshold for rule in rules if isinstance(rule, EfficiencyDrop)]
    statuses = {
        status for rule in rules if isinstance(rule, EfficiencyStatus) for status in rule.statuses
    }
    now = datetime.now(UTC)
    parameters = {
        **names,
        "since": now - _RECENT,
        "now": now,
        "drop": min(drops, default=None),
        "statuses": sorted(statuses),
        "least_hours": _LEAST_HOURS,
    }
    rows = conn.execute(query("alert_hours"), parameters).fetchall()
    alerts = {
        (row["rule"], row["device_id"]): row
        for row in conn.execute(query("open_alerts_of_rules"), names)
    }
    changes = Changes()
    for vehicle, found in groupby(rows, key=lambda row: str(row["vehicle_id"])):
        hours = list(found)
        place = hours[0]["depot"], hours[0]["group"]
        readings = [
            HourReading(
                hour=row["hour_start"],
                status=row["status"],
                efficiency=row["efficiency_percent"],
                usual=row["usual"],
                limits=energy.status_limits(row["charger_class"]),
            )
            for row in hours
        ]
        for rule in rules:
            covered = readings if rule.covers(*place) else []
            _evaluate_rule(rule, vehicle, covered, alerts.get((rule.name, vehicle)), changes)
    changes.write(conn)


def _evaluate_rule(
    rule: HourRule,
    vehicle: str,
    readings: list[HourReading],
    alert: DictRow | None,
    changes: Changes,
) -> None:
    before = None
    if alert is not None:
        before = Condition(
            True, alert["since"], alert["observed_at"], alert["value"], alert["worst_value"]
        )
    after, seen, reading = before, None, None
    for one in readings:
        observed = observe_hour(rule, one)
        if observed is not None:
            seen, reading = observed, one
            after = step(after, seen, rule.hold, lower_is_worse=lower_is_worse(rule))
    if not readings and before is not None and alert is not None:
        changes.resolve(alert["id"], before)  # it is no device of the rule any more
    if seen is None or reading is None:
        return
    if before is not None and alert is not None and (after is None or not after.is_open):
        last = replace(before, observed_at=seen.at, value=seen.value)
        changes.resolve(alert["id"], last)
        return
    if after is None or not after.is_open:  # what is pending follows from the hours again
        return
    if before is None or replace(after, since=before.since) != before:
        subject = Subject(rule, "vehicle", vehicle, alert["id"] if alert else None)
        changes.apply_step(subject, before, after, hour_message(rule, reading))
