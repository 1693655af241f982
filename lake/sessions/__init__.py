"""Charging sessions: stretches of an hour, their merging, and ids that stay; pure."""

from lake.sessions.identity import identified_sessions
from lake.sessions.sessions import (
    IDENTITY,
    LINKS,
    LONGEST_SESSION,
    charging_sessions,
    hours_as_stretches,
)

__all__ = [
    "IDENTITY",
    "LINKS",
    "LONGEST_SESSION",
    "charging_sessions",
    "hours_as_stretches",
    "identified_sessions",
]
