"""Units of energy: conversion, and what a column's name tells."""

import re
from collections.abc import Mapping
from typing import Any, Final

from lake.errors import UnusableFile

MAX_INTERVAL_KWH: Final = 1_000.0  # a megawatt for an hour; more in one heartbeat is a fault
MAX_REGISTER_KWH: Final = 1e9

# Factor and divisor to kWh: a division by 1,000 is exact to the last bit, a factor of 0.001 is not.
_TO_KWH: Final[Mapping[str, tuple[float, float]]] = {
    "kWh": (1.0, 1.0),
    "Wh": (1.0, 1_000.0),
    "MWh": (1_000.0, 1.0),
    "J": (1.0, 3_600_000.0),
    "kJ": (1.0, 3_600.0),
    "MJ": (1.0, 3.6),
}

_WORD: Final = r"(?:watt|w)[ ._*·-]?(?:h(?:(?:ou)?rs?)?|stunden?)"
_ENERGY_NAME: Final = re.compile(
    rf"(?<![a-z])(?:(?P<kilo>k|kilo)|(?P<mega>m|mega))?[ -]?{_WORD}(?![a-z])", re.I
)
# Where the words of energyWhTotal, energykWh and totalWattHours begin.
_CAMEL: Final = re.compile(
    r"(?<=[a-z0-9])(?=[kKM][Ww]h(?![a-z]))|(?<=[a-jl-z0-9])(?=Wh(?![a-z]))|(?<=[Ww]h)(?=[A-Z])"
    r"|(?<=[a-z])(?=(?:Kilow|Megaw|W)att)"
)
_JOULE_NAME: Final = re.compile(
    r"(?<![A-Za-z])([kM]?J)(?![A-Za-z])|(?i:(?<![a-z])joules?(?![a-z]))"
)
_POWER_NAME: Final = re.compile(
    r"(?<![A-Za-z])([kKM]?W|kw)(?![A-Za-z])|(?i:(?<![a-z])(?:kilo|mega)?watts?(?![a-z]))"
)


def to_kwh(values: Any, unit: str | None) -> Any:
    """Convert a number, or an array of numbers, to kWh; no unit is kWh."""
    factor, divisor = _TO_KWH[unit or "kWh"]
    return values * factor / divisor


def require_kwh_name(column: str, field: str) -> None:
    """Raise UnusableFile if the name of an energy column names another unit than kWh."""
    named = unit_of_name(column)
    if named in {"kW", "W"}:
        raise UnusableFile(
            f"has a power ({named}) in {column!r}, and {field} is an energy: name a column of "
            "energies, or say --unit kWh (or Wh) if they are energies"
        )
    if named not in {None, "kWh"}:
        raise UnusableFile(
            f"has {named} in {column!r}, as its name says: say --unit {named} if they are, "
            "--unit kWh if not; nothing was taken"
        )


def unit_of_name(column: str) -> str | None:
    """Return the unit in a column's name, `kW` or `W` for a power; None if there is none."""
    spaced = _CAMEL.sub(" ", column)
    units = {
        "MWh" if found["mega"] else "kWh" if found["kilo"] else "Wh"
        for found in _ENERGY_NAME.finditer(spaced)
    }
    if units:
        return "kWh" if "kWh" in units else min(units)
    if found := _JOULE_NAME.search(spaced):
        return found[1] or "J"
    if found := _POWER_NAME.search(spaced):
        return "W" if found[0].lower() in {"w", "watt", "watts"} else "kW"
    return None
