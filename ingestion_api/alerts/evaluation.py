"""Comparison of readings with the thresholds of alert rules."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ingestion_api.alerts.rules import (
    EfficiencyDrop,
    EfficiencyStatus,
    HourRule,
    LiveRule,
    Silent,
)
from ingestion_api.alerts.state_machine import Level, Observation

_HOUR: Final = timedelta(hours=1)
_PLAUSIBLE_PERCENT: Final = 100.0


@dataclass(frozen=True, slots=True)
class LiveReading:
    """A device's live state in the terms of a rule.

    `value` is in the unit of the rule's threshold, `detail` the voltage or the state of charge.
    Under `patience` seconds of silence nothing is missed from a slow device, whatever the rule.
    """

    at: datetime
    value: float
    detail: float | None
    patience: float = 0.0


@dataclass(frozen=True, slots=True)
class HourReading:
    """A published hour of a vehicle; `usual` is its efficiency before, `limits` of its class.

    Percent; `limits` are those of `EnergySettings.status_limits`.
    """

    hour: datetime
    status: str
    efficiency: float | None
    usual: float | None
    limits: tuple[float, float, float, float]


def observe_live(rule: LiveRule, reading: LiveReading) -> Observation:
    """Compare a reading with the thresholds of a rule."""
    raised_above, clears_at = (max(limit, reading.patience) for limit in thresholds(rule))
    return Observation(
        reading.at, reading.at, _level(reading.value, raised_above, clears_at), reading.value
    )


def observe_hour(rule: HourRule, reading: HourReading) -> Observation | None:
    """Compare an hour with a rule; None where the hour has no ratio to compare."""
    if isinstance(rule, EfficiencyDrop):
        if reading.usual is None or reading.efficiency is None or reading.status == "implausible":
            return None
        drop = round(reading.usual - reading.efficiency, 9)
        level, value = _level(drop, rule.threshold, rule.clears_at), drop
        return Observation(reading.hour, reading.hour + _HOUR, level, value)
    level = _status_level(rule, reading)
    return Observation(reading.hour, reading.hour + _HOUR, level, reading.efficiency)


def thresholds(rule: LiveRule) -> tuple[float, float]:
    """Threshold and clear threshold in the unit of the values."""
    if isinstance(rule, Silent):
        seconds = rule.threshold.total_seconds()
        return seconds, seconds
    return rule.threshold, rule.clears_at


def lower_is_worse(rule: LiveRule | HourRule) -> bool:
    """Return whether the worst value is the smallest one."""
    return isinstance(rule, EfficiencyStatus) and "implausible" not in rule.statuses


def _level(value: float, raised_above: float, clears_at: float) -> Level:
    if value > raised_above:
        return Level.RAISED
    return Level.CLEARED if value <= clears_at else Level.BETWEEN


def _status_level(rule: EfficiencyStatus, reading: HourReading) -> Level:
    """Return the level of an hour; outside of the statuses, by its distance from them.

    Better by less than `clear` is within the hysteresis: above the upper limit of the worst
    efficiencies, under 100 % or over the floor for what was implausible. Worse is another rule's
    matter.
    """
    if reading.status in rule.statuses:
        return Level.RAISED
    if reading.efficiency is None or reading.status == "implausible":
        return Level.CLEARED
    warning_from, good_from, _, floor = reading.limits
    for status, limit in (("warning", good_from), ("critical", warning_from)):
        if status in rule.statuses and limit <= reading.efficiency < limit + rule.clear:
            return Level.BETWEEN
    if "implausible" in rule.statuses and (
        _PLAUSIBLE_PERCENT - rule.clear < reading.efficiency <= _PLAUSIBLE_PERCENT
        or floor <= reading.efficiency < floor + rule.clear
    ):
        return Level.BETWEEN
    return Level.CLEARED
