"""Condition of chargers and vehicles: what they should reach, what is wrong, whom to visit."""

from lake.condition.anomalies import (
    ANOMALIES,
    LOSSES,
    FleetCondition,
    assess_condition,
    find_anomalies,
)
from lake.condition.expected import (
    MODEL,
    TooFewSessions,
    excess_loss,
    expected_efficiency,
    fit_expected,
)
from lake.condition.levels import adjusted_deviations, weekly_levels
from lake.condition.maintenance import (
    CLOSE_AFTER,
    DECISIONS,
    MAINTENANCE,
    OPEN,
    PRICES,
    apply_decisions,
    no_maintenance,
    update_maintenance,
)
from lake.condition.sessions import SESSIONS, prepare_sessions
from lake.condition.trend import TRENDS, efficiency_trends

__all__ = [
    "ANOMALIES",
    "CLOSE_AFTER",
    "DECISIONS",
    "LOSSES",
    "MAINTENANCE",
    "MODEL",
    "OPEN",
    "PRICES",
    "SESSIONS",
    "TRENDS",
    "FleetCondition",
    "TooFewSessions",
    "adjusted_deviations",
    "apply_decisions",
    "assess_condition",
    "efficiency_trends",
    "excess_loss",
    "expected_efficiency",
    "find_anomalies",
    "fit_expected",
    "no_maintenance",
    "prepare_sessions",
    "update_maintenance",
    "weekly_levels",
]
