"""Condition of chargers and vehicles: what they should reach, what is wrong, whom to visit."""

from lake.condition.anomalies import ANOMALIES, LOSSES, find_anomalies
from lake.condition.expected import MODEL, excess_loss, expected_efficiency, fit_expected
from lake.condition.levels import adjusted_deviations, weekly_levels
from lake.condition.maintenance import MAINTENANCE, close_entry, no_maintenance, update_maintenance
from lake.condition.sessions import SESSIONS, prepare_sessions
from lake.condition.trend import TRENDS, efficiency_trends

__all__ = [
    "ANOMALIES",
    "LOSSES",
    "MAINTENANCE",
    "MODEL",
    "SESSIONS",
    "TRENDS",
    "adjusted_deviations",
    "close_entry",
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
