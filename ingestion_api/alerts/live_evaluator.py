"""Evaluation of the heartbeat rules on live state."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog
from psycopg.rows import DictRow

from ingestion_api.alerts.evaluation import LiveReading, observe_live, thresholds
from ingestion_api.alerts.messages import live_message
from ingestion_api.alerts.rules import LiveRule, RuleFile, Silent, SocFalling, device_kinds
from ingestion_api.alerts.state_machine import Condition, Level, step
from ingestion_api.alerts.store import Changes, Connection, Subject
from lake import EnergySettings
from warehouse_sql.named_queries import query

log = structlog.get_logger(__name__)

_NEVER: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LONGEST_COMMIT: Final = timedelta(seconds=5)
_LONGEST_MERGE: Final = timedelta(minutes=1)  # of another cell, whose clock may differ
_HISTORY_SECONDS: Final = 3600.0  # what was received so late tells nothing of now


class LiveEvaluator:
    """Evaluates the rules on heartbeats, again and again, on live state.

    A rule sees the newest heartbeat of each device, by event time, at the time of the evaluation.
    Heartbeats between two evaluations, or late ones, are not seen.
    """

    def __init__(
        self,
        rules: RuleFile,
        energy: EnergySettings,
        future_tolerance_seconds: float,
        silent_intervals: float,
        *,
        has_cells: bool = False,
    ) -> None:
        """`has_cells`: live states come from other databases as well, some time after receipt."""
        self._lateness = _LONGEST_MERGE if has_cells else _LONGEST_COMMIT
        self._rules, self._energy = rules, energy
        self._tolerance = timedelta(seconds=future_tolerance_seconds)
        self._silent_intervals = silent_intervals
        self._evaluated_at = _NEVER

    def begin(self, conn: Connection) -> None:
        """Forget what another process may have seen since, and take the rules as they are now."""
        self._evaluated_at = _NEVER
        apply_rules(conn, self._rules)
        _warn_of_missing_places(conn, self._rules)

    def evaluate(self, conn: Connection) -> None:
        """Open, update and resolve what live state gives cause for."""
        rules, now = self._rules.live, datetime.now(UTC)
        if self._evaluated_at > now:  # the clock was ahead
            self._evaluated_at = _NEVER
        # A heartbeat shows some time after its receipt; one that is missed is followed by more.
        heard = {
            "since": self._evaluated_at - self._lateness,
            "now": now,
            "believed_until": now + self._tolerance,
            "nominal": self._energy.nominal_interval_seconds,
        }
        with conn.transaction():
            # A heartbeat that comes in between would be compared with a peak that knows it not.
            conn.execute(query("alert_snapshot"))
            conn.execute(query("alert_plans"))
            conn.execute(query("record_alert_evaluation"), {"now": now})
            if any(isinstance(rule, SocFalling) for rule in rules):
                conn.execute(query("alert_soc_peaks"), heard | _peak_parameters(self._energy))
            patience = {"silent_intervals": self._silent_intervals}
            parameters = heard | patience | _parameters(rules, self._energy)
            rows = conn.execute(query("alert_live"), parameters).fetchall()
        changes = Changes()
        by_name = {rule.name: rule for rule in rules}
        for row in rows:
            _evaluate_rule(by_name[row["rule"]], row, changes)
        if changes:
            with conn.transaction():
                changes.write(conn)
        self._evaluated_at = now


def apply_rules(conn: Connection, rules: RuleFile) -> None:
    """Resolve what no rule speaks of any more; the other open alerts get the severity of theirs."""
    known = [(rule, kind) for rule in rules.rules for kind in device_kinds(rule)]
    values = {
        "rules": [rule.name for rule, _ in known],
        "device_kinds": [kind for _, kind in known],
        "severities": [rule.severity for rule, _ in known],
    }
    with conn.transaction():
        conn.execute(query("drop_pending_without_rule"), values)
        changes = Changes()
        for row in conn.execute(query("alerts_without_rule"), values):
            at = row["observed_at"]
            changes.resolve(row["id"], Condition(True, at, at, row["value"], row["worst_value"]))
        for row in conn.execute(query("follow_severities"), values):
            changes.events.append((row["id"], "updated"))
        changes.write(conn)


def _warn_of_missing_places(conn: Connection, rules: RuleFile) -> None:
    named = {
        "depots": sorted({name for rule in rules.rules for name in rule.depots or ()}),
        "groups": sorted({name for rule in rules.rules for name in rule.groups or ()}),
    }
    missing = conn.execute(query("missing_places"), named).fetchone()
    if missing is not None:
        log.warning("an alert rule names a depot or a group that there is not", **missing)


def _evaluate_rule(rule: LiveRule, row: DictRow, changes: Changes) -> None:
    before = None
    if row["since"] is not None:
        before = Condition(
            is_open=row["alert_id"] is not None,
            since=row["since"],
            observed_at=row["observed_before"],
            value=row["value_before"],
            worst=row["worst_before"],
        )
    reading = LiveReading(row["observed_at"], row["value"], row["detail"], row["patience"] or 0.0)
    seen = observe_live(rule, reading)
    if row["is_gone"]:
        seen = replace(seen, level=Level.CLEARED)
    after = step(before, seen, rule.hold)
    subject = Subject(rule, row["device_kind"], row["device_id"], row["alert_id"])
    if after is None and before is not None and before.is_open:
        last = replace(before, observed_at=seen.at, value=seen.value)
        if isinstance(rule, Silent):
            # From the last heartbeat before it to the one that ends it.
            silence = (seen.at - before.observed_at).total_seconds()
            last = replace(last, worst=max(silence, before.worst or 0))
        changes.resolve(row["alert_id"], last)
    else:
        changes.apply_step(subject, before, after, live_message(rule, reading))


def _parameters(rules: list[LiveRule], energy: EnergySettings) -> dict[str, Any]:
    asked = [(rule, kind, *thresholds(rule)) for rule in rules for kind in device_kinds(rule)]
    own = {
        name: one.nominal_voltage
        for name, one in energy.charger_classes.items()
        if one.nominal_voltage is not None
    }
    return {
        "rules": [rule.name for rule, *_ in asked],
        "kinds": [rule.kind for rule, *_ in asked],
        "device_kinds": [kind for _, kind, *_ in asked],
        "thresholds": [threshold for *_, threshold, _ in asked],
        "clears": [clear for *_, clear in asked],
        "depots": [_json(rule.depots) for rule, *_ in asked],
        "groups": [_json(rule.groups) for rule, *_ in asked],
        "classes": list(own),
        "voltages": list(own.values()),
        "nominal_voltage": energy.nominal_voltage,
        "history": _HISTORY_SECONDS,
    }


def _json(names: frozenset[str] | None) -> str | None:
    return None if names is None else json.dumps(sorted(names))


def _peak_parameters(energy: EnergySettings) -> dict[str, Any]:
    return {
        "gap": energy.largest_gap_seconds,
        "idle_kw": energy.idle_below_kwh,  # in an hour
    }
