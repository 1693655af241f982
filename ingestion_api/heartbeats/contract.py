"""The heartbeat contract: what devices send and within which limits; OpenAPI shows the same."""

from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import BeforeValidator, Field
from typing_extensions import TypedDict

from lake import METER, VEHICLE
from lake.recordings import MAX_INTERVAL_KWH, MAX_REGISTER_KWH

# What a reading may be, both ends included; every format and both decoders hold to the same.
ENERGY_KWH: Final = (0.0, MAX_REGISTER_KWH)
VOLTS: Final = (0.0, 100_000.0)
CHARGE_PERCENT: Final = (0.0, 100.0)
BATTERY_CELSIUS: Final = (-100.0, 200.0)
LONGEST_INTERVAL_SECONDS: Final = 7 * 86_400.0
INTERVAL_SECONDS: Final = (1e-6, LONGEST_INTERVAL_SECONDS)
RANGES: Final = {
    "kwh_consumed_ac": ENERGY_KWH,
    "voltage": VOLTS,
    "kwh_delivered_dc": ENERGY_KWH,
    "soc": CHARGE_PERCENT,
    "battery_temp": BATTERY_CELSIUS,
    "interval_seconds": INTERVAL_SECONDS,
}
# What is wrong with one of these costs the field alone, and the answer warns of it; any other fault
# costs the heartbeat. A phase is a part of the identity: without it a heartbeat would be another.
OPTIONAL: Final = {
    METER.name: frozenset({"voltage", "intervalSeconds", "intervalStart"}),
    VEHICLE.name: frozenset({"soc", "batteryTemp", "meterId", "intervalSeconds", "intervalStart"}),
}
ID_LENGTH: Final = 64
# Clients take these out of the path of a URL (RFC 3986, 5.2.4), even if they are escaped.
NO_IDS: Final = (".", "..")
ID_PATTERN: Final = r"^(?:[-!-,/-~](?:[ -~]{0,62}[!-~])?|\.(?:[-!-,/-~]|[ -~]{1,62}[!-~]))$"
ID_REASON: Final = (
    "must be 1-64 printable ASCII characters without a space at either end, and not . or .., which "
    "can't stand in the path of a URL"
)
ID_TYPE_REASON: Final = "must be a text, or a whole number without a decimal point or an exponent"
_LEFT_OUT: Final = "; anything else is left out, with a warning"
PHASE_PATTERN: Final = "^[A-Za-z0-9_-]{1,16}$"
PHASE_REASON: Final = "must be 1-16 letters, digits, _ or -"
TIME_PATTERN: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]"
    r"(?::[0-5][0-9](?:\.[0-9]{1,9})?)?(?:Z|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)$"
)
TIME_REASON: Final = "must be ISO 8601 with a zone, such as 2026-03-01T12:00:00Z"


def id_as_text(value: Any) -> Any:
    """Return a whole number as text: so many senders write the number of a meter."""
    return str(value) if type(value) is int else value


def _or_left_out(schema: dict[str, Any]) -> None:
    """Let the schema of an optional field take anything, for what is no value of it is left out."""
    described = {"description", "title"}
    usual = {name: schema.pop(name) for name in list(schema) if name not in described}
    schema["anyOf"] = [usual, {}]


def _or_whole_number(schema: dict[str, Any]) -> None:
    described = {"description", "title"}
    usual = {name: schema.pop(name) for name in list(schema) if name not in described}
    schema["anyOf"] = [usual, {"type": "integer"}]


DeviceId = Annotated[
    str,
    Field(
        pattern=ID_PATTERN,
        json_schema_extra=_or_whole_number,
        description="1-64 printable ASCII characters, without a space at either end; not . or "
        "..; a whole number is taken as text",
    ),
    BeforeValidator(id_as_text),
]
NamedMeter = Annotated[
    str,
    Field(
        pattern=ID_PATTERN,
        description=f"the meter that the vehicle charges from, an id{_LEFT_OUT}",
        json_schema_extra=_or_left_out,
    ),
    BeforeValidator(id_as_text),
]
Phase = Annotated[
    str,
    Field(
        pattern=PHASE_PATTERN,
        json_schema_extra=_or_whole_number,
        description="the phase that this heartbeat measures, such as L1: a part of its identity; "
        "phases of one moment add up. Left out by a meter that measures all at once",
    ),
    BeforeValidator(id_as_text),
]
EventTime = Annotated[
    str,
    Field(
        pattern=TIME_PATTERN,
        description="ISO 8601 with a zone (Z or an offset), microseconds (further digits are cut "
        "off); not before the year 2000 and not more than 5 minutes ahead of the collector",
        json_schema_extra={"format": "date-time"},
    ),
]
Energy = Annotated[
    float,
    Field(
        strict=True,
        allow_inf_nan=False,
        ge=ENERGY_KWH[0],
        le=ENERGY_KWH[1],
        description=f"kWh; at most {MAX_INTERVAL_KWH:,.0f} for an interval and "
        f"{ENERGY_KWH[1]:,.0f} for a register",
    ),
]
Voltage = Annotated[
    float,
    Field(
        strict=True,
        allow_inf_nan=False,
        ge=VOLTS[0],
        le=VOLTS[1],
        description=f"volt{_LEFT_OUT}",
        json_schema_extra=_or_left_out,
    ),
]
StateOfCharge = Annotated[
    float,
    Field(
        strict=True,
        allow_inf_nan=False,
        ge=CHARGE_PERCENT[0],
        le=CHARGE_PERCENT[1],
        description=f"percent{_LEFT_OUT}",
        json_schema_extra=_or_left_out,
    ),
]
Temperature = Annotated[
    float,
    Field(
        strict=True,
        allow_inf_nan=False,
        ge=BATTERY_CELSIUS[0],
        le=BATTERY_CELSIUS[1],
        description=f"degrees Celsius{_LEFT_OUT}",
        json_schema_extra=_or_left_out,
    ),
]
IntervalSeconds = Annotated[
    float,
    Field(
        strict=True,
        allow_inf_nan=False,
        ge=INTERVAL_SECONDS[0],
        le=INTERVAL_SECONDS[1],
        description="how long before the timestamp the energy began to flow, seconds, at most 7 "
        "days; left out: taken from the heartbeats before",
        json_schema_extra=_or_left_out,
    ),
]
IntervalStart = Annotated[
    str,
    Field(
        pattern=TIME_PATTERN,
        description="the same as a time, at most 7 days before the timestamp; where both are given "
        "they must agree",
        json_schema_extra=_or_left_out,
    ),
]
ReadingType = Annotated[
    Literal["interval", "register"],
    Field(
        description="interval (the default): the energy since the previous heartbeat; "
        "register: the state of a cumulative register"
    ),
]


class MeterHeartbeat(TypedDict):
    """A meter's heartbeat: at least one of kwhConsumedAc and voltage.

    Other fields are ignored, and the answer warns of them.
    """

    meterId: DeviceId
    timestamp: EventTime
    kwhConsumedAc: NotRequired[Energy | None]
    voltage: NotRequired[Voltage | None]
    phase: NotRequired[Phase | None]
    readingType: NotRequired[ReadingType | None]
    intervalSeconds: NotRequired[IntervalSeconds | None]
    intervalStart: NotRequired[IntervalStart | None]


class VehicleHeartbeat(TypedDict):
    """A vehicle's heartbeat: at least one of soc, kwhDeliveredDc and batteryTemp.

    meterId names the meter that the vehicle charges from. Other fields are ignored, and the answer
    warns of them.
    """

    vehicleId: DeviceId
    timestamp: EventTime
    soc: NotRequired[StateOfCharge | None]
    kwhDeliveredDc: NotRequired[Energy | None]
    batteryTemp: NotRequired[Temperature | None]
    meterId: NotRequired[NamedMeter | None]
    readingType: NotRequired[ReadingType | None]
    intervalSeconds: NotRequired[IntervalSeconds | None]
    intervalStart: NotRequired[IntervalStart | None]


METER_EXAMPLE: Final[dict[str, Any]] = {
    "meterId": "METER001",
    "timestamp": "2026-03-01T12:00:00Z",
    "kwhConsumedAc": 0.125,
    "voltage": 231.4,
}
VEHICLE_EXAMPLE: Final[dict[str, Any]] = {
    "vehicleId": "VEH001",
    "timestamp": "2026-03-01T12:00:00Z",
    "soc": 71.5,
    "kwhDeliveredDc": 0.113,
    "batteryTemp": 24.5,
}
