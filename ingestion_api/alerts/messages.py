"""The texts of alerts: what is wrong, in a sentence."""

from collections.abc import Mapping
from typing import Any

from ingestion_api.alerts.evaluation import HourReading, LiveReading
from ingestion_api.alerts.rules import (
    BatteryTemperature,
    EfficiencyDrop,
    HourRule,
    LiveRule,
    Silent,
    SocFalling,
    Voltage,
)


def live_message(rule: LiveRule, reading: LiveReading) -> str:
    """An alert of a live rule in a sentence."""
    match rule:
        case BatteryTemperature():
            return f"battery at {reading.value:.1f} °C, over {rule.threshold:g} °C"
        case Voltage():
            return (
                f"{reading.detail or 0:.1f} V, {reading.value:.1f} % off the nominal voltage, "
                f"over {rule.threshold:g} %"
            )
        case SocFalling():
            return (
                f"state of charge fell {reading.value:.1f} points to {reading.detail or 0:.1f} % "
                "while the meter delivers"
            )
        case Silent():
            return f"no heartbeat since {reading.at:%Y-%m-%d %H:%M:%S} UTC"


def hour_message(rule: HourRule, reading: HourReading) -> str:
    """An alert of an hourly rule in a sentence."""
    ratio = "energy on one side only"
    if reading.efficiency is not None:
        ratio = f"efficiency {reading.efficiency:.1f} %"
    hour = f"in the hour from {reading.hour:%Y-%m-%d %H:%M} UTC"
    if isinstance(rule, EfficiencyDrop):
        return f"{ratio} {hour}, {reading.usual or 0:.1f} % in the weeks before"
    return f"{ratio} {hour}: {reading.status}"


def visit_message(visit: Mapping[str, Any]) -> str:
    """A row of the list of visits in words: its reason, and what is at stake."""
    lost, stake = visit["mending_saves_kwh_a_year"], visit["at_stake_kwh_a_year"]
    if not stake:
        return str(visit["reason"])
    money = visit["mending_saves_a_year" if lost else "at_stake_a_year"]
    priced = "" if money is None else f", {money:,.0f} {visit['currency']}"
    if lost:
        return f"{visit['reason']} Mending saves {lost:,.0f} kWh{priced} a year."
    return f"{visit['reason']} {stake:,.0f} kWh{priced} a year are measured wrongly."
