"""State machine of an alert condition: from one observation to the next, without other memory."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto


class Level(Enum):
    """An observation compared with the thresholds of a rule."""

    RAISED = auto()
    """Beyond the threshold."""
    BETWEEN = auto()
    """Neither: within the hysteresis."""
    CLEARED = auto()
    """Back at the clear threshold."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One value of a device; it holds from `begin` to `at`, in event time."""

    begin: datetime
    at: datetime
    level: Level
    value: float | None


@dataclass(frozen=True, slots=True)
class Condition:
    """A rule holds at a device since `since`: an open alert, or pending for less than its hold."""

    is_open: bool
    since: datetime
    observed_at: datetime
    value: float | None
    worst: float | None


def step(
    before: Condition | None,
    seen: Observation,
    hold: timedelta,
    *,
    lower_is_worse: bool = False,
) -> Condition | None:
    """Return the condition after an observation; None where none holds.

    Pending becomes open when everything seen from its first observation to one that ends `hold`
    later was RAISED; anything else drops it. Open ends with CLEARED only. So an alert opens once
    and does not flap within the hysteresis, and a restart between two observations changes nothing.
    An observation from before the first one tells that a clock was ahead: it begins with this one.
    """
    if seen.level is Level.CLEARED or (
        seen.level is Level.BETWEEN and not (before and before.is_open)
    ):
        return None
    since = min(before.since, seen.begin) if before else seen.begin
    return Condition(
        is_open=bool(before and before.is_open) or seen.at - since >= hold,
        since=since,
        observed_at=seen.at,
        value=seen.value,
        worst=_worst(before.worst if before else None, seen.value, lower_is_worse=lower_is_worse),
    )


def _worst(one: float | None, other: float | None, *, lower_is_worse: bool) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other) if lower_is_worse else max(one, other)
