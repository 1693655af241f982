"""Evaluation of the maintenance rules on the list of visits."""

from dataclasses import replace
from typing import Final

from psycopg.rows import DictRow

from ingestion_api.alerts.messages import visit_message
from ingestion_api.alerts.rules import MaintenanceVisit, RuleFile, device_kinds
from ingestion_api.alerts.state_machine import Condition
from ingestion_api.alerts.store import Changes, Connection, Subject
from warehouse_sql.named_queries import query

_WORSE_BY: Final = 1.1  # a little more each night is no news


def evaluate_visits(conn: Connection, rules: RuleFile) -> None:
    """Open, update and resolve what the list of visits gives cause for; one transaction.

    The list wavers about no limit, so neither do its alerts: one opens with its visit and resolves
    when that is closed, by itself or by a person.
    """
    if not rules.maintenance:
        return
    changes = Changes()
    with conn.transaction():
        visits = conn.execute(query("alert_visits")).fetchall()
        names = {"rules": [rule.name for rule in rules.maintenance]}
        alerts = {
            (row["rule"], row["device_kind"], row["device_id"]): row
            for row in conn.execute(query("open_visit_alerts"), names)
        }
        for rule in rules.maintenance:
            for visit in visits:
                if _is_about(rule, visit):
                    key = rule.name, visit["device_kind"], visit["device_id"]
                    _evaluate_visit(rule, visit, alerts.pop(key, None), changes)
        for alert in alerts.values():  # their visits are closed
            changes.resolve(alert["id"], _condition(alert))
        if changes:
            changes.write(conn)


def _is_about(rule: MaintenanceVisit, visit: DictRow) -> bool:
    is_kind = visit["device_kind"] in device_kinds(rule)
    return is_kind and rule.covers(visit["depot"], visit["group"])


def _evaluate_visit(
    rule: MaintenanceVisit, visit: DictRow, alert: DictRow | None, changes: Changes
) -> None:
    value = visit["at_stake_kwh_a_year"]
    if alert is None and value < rule.threshold:
        return
    after = Condition(True, visit["opened_at"], visit["observed_at"], value, value)
    before = None
    if alert is not None:
        before = _condition(alert)
        if before.observed_at >= after.observed_at:
            return
        is_worse = before.worst is None or value > before.worst * _WORSE_BY
        worst = value if is_worse else before.worst
        after = replace(after, since=before.since, worst=worst)
    subject = Subject(
        rule, visit["device_kind"], visit["device_id"], alert["id"] if alert else None
    )
    changes.apply_step(subject, before, after, visit_message(visit))


def _condition(alert: DictRow) -> Condition:
    return Condition(
        True, alert["since"], alert["observed_at"], alert["value"], alert["worst_value"]
    )
