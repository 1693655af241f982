"""Models of alert rules and of their file."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ingestion_api.rest.validation_messages import NEW_RULE_NAME

Severity = Literal["info", "warning", "critical"]
DeviceKind = Literal["meter", "vehicle"]
BadStatus = Literal["warning", "critical", "implausible"]

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_SECONDS: Final = 31 * 86_400


def _duration(value: Any) -> timedelta:
    seconds = _seconds(value)
    if seconds is None:
        raise ValueError("is no duration: write seconds, or a number with s, m, h, d as in 90s, 2h")
    if not 0 <= seconds <= _LONGEST_SECONDS:
        raise ValueError("must lie between 0 and 31 days")
    return timedelta(seconds=seconds)


def _seconds(value: Any) -> float | None:
    if isinstance(value, str) and (found := _DURATION.fullmatch(value.strip())):
        return float(found[1]) * _UNITS[found[2]]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return None


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration, json_schema_input_type=float | str),
]


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = Field(
        pattern=NEW_RULE_NAME,
        description="names the rule and its alerts: a-z, 0-9, - and _",
    )
    severity: Severity
    depots: frozenset[str] | None = Field(
        default=None, min_length=1, description="only devices of these depots; all if left out"
    )
    groups: frozenset[str] | None = Field(
        default=None, min_length=1, description="only devices of these groups; all if left out"
    )

    def covers(self, depot: str | None, group: str | None) -> bool:
        """Tell whether the rule is about the devices of a depot and a group."""
        return (self.depots is None or depot in self.depots) and (
            self.groups is None or group in self.groups
        )


class _HeldRule(_Rule):
    hold: Duration = Field(
        default=timedelta(0),
        alias="for",
        description="opens an alert once every observation of so long a time, by the devices' "
        "clocks, was beyond the threshold; 0: at once",
    )


class _ThresholdRule(_HeldRule):
    threshold: float = Field(ge=0, description="a value above is beyond it")
    clear: float | None = Field(
        default=None, description="a value up to here resolves the alert; threshold if left out"
    )

    @model_validator(mode="after")
    def _clear_is_below(self) -> Self:
        if self.clears_at > self.threshold:
            raise ValueError("clear must not be above threshold")
        return self

    @property
    def clears_at(self) -> float:
        """The clear threshold in the unit of the threshold."""
        return self.threshold if self.clear is None else self.clear


class BatteryTemperature(_ThresholdRule):
    """The newest battery temperature of a vehicle, degrees Celsius."""

    kind: Literal["battery_temperature"]


class Voltage(_ThresholdRule):
    """Deviation of a meter's newest voltage from the nominal one, percent of it."""

    kind: Literal["voltage"]


class SocFalling(_ThresholdRule):
    """Points of state of charge lost while a meter delivers energy to the vehicle."""

    kind: Literal["soc_falling"]


class EfficiencyDrop(_ThresholdRule):
    """Points by which an hour is below the vehicle's own efficiency of the last four weeks."""

    kind: Literal["efficiency_drop"]


class EfficiencyStatus(_HeldRule):
    """The status of a vehicle's hour."""

    kind: Literal["efficiency_status"]
    statuses: frozenset[BadStatus] = Field(min_length=1, description="opens at one of these")
    clear: float = Field(
        default=0,
        ge=0,
        le=50,
        description="points by which the efficiency must be better than the limit of the statuses "
        "to resolve the alert",
    )


class Silent(_Rule):
    """No heartbeat of a device for some time."""

    kind: Literal["silent"]
    threshold: Duration = Field(
        description="age of the newest heartbeat above which it is silent; of a device that sends "
        "more seldom than once in a nominal interval at least SILENT_INTERVALS of its cadences"
    )
    device_kind: DeviceKind | None = Field(
        default=None, description="only meters, or only vehicles; both if left out"
    )

    @property
    def hold(self) -> timedelta:
        """The threshold is a time already."""
        return timedelta(0)


class MaintenanceVisit(_Rule):
    """A device that is to be visited, by the list of maintenance."""

    kind: Literal["maintenance_visit"]
    threshold: float = Field(
        default=0,
        ge=0,
        description="opens an alert only where at least so many kWh a year are at stake",
    )
    device_kind: DeviceKind | None = Field(
        default=None, description="only meters, or only vehicles; both if left out"
    )


LiveRule = BatteryTemperature | Voltage | SocFalling | Silent
HourRule = EfficiencyStatus | EfficiencyDrop
Rule = LiveRule | HourRule | MaintenanceVisit
RULE_KINDS: Final[Mapping[str, type[BaseModel]]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model for model in get_args(Rule)
}


class RuleFile(BaseModel):
    """A file of alert rules."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: tuple[Annotated[Rule, Field(discriminator="kind")], ...]

    @property
    def live(self) -> list[LiveRule]:
        """The rules on heartbeats."""
        return [rule for rule in self.rules if isinstance(rule, LiveRule)]

    @property
    def hourly(self) -> list[HourRule]:
        """The rules on computed hours."""
        return [rule for rule in self.rules if isinstance(rule, HourRule)]

    @property
    def maintenance(self) -> list[MaintenanceVisit]:
        """The rules on the list of visits."""
        return [rule for rule in self.rules if isinstance(rule, MaintenanceVisit)]


def device_kinds(rule: Rule) -> tuple[DeviceKind, ...]:
    """Return the kinds of devices that the rule is about."""
    if isinstance(rule, Silent | MaintenanceVisit):
        return (rule.device_kind,) if rule.device_kind else ("meter", "vehicle")
    return ("meter",) if isinstance(rule, Voltage) else ("vehicle",)
