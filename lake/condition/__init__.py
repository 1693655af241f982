"""Condition of chargers and vehicles: what they should reach, what is wrong, whom to visit."""

from lake.condition.expected import MODEL, excess_loss, expected_efficiency, fit_expected
from lake.condition.sessions import SESSIONS, prepare_sessions

__all__ = [
    "MODEL",
    "SESSIONS",
    "excess_loss",
    "expected_efficiency",
    "fit_expected",
    "prepare_sessions",
]
