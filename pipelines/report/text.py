"""Numbers, times and devices as a report writes them."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Final
from urllib.parse import quote

_THIN: Final = "\N{NARROW NO-BREAK SPACE}"
UNKNOWN: Final = "\N{EN DASH}"
_FOLDERS: Final[Mapping[str, str]] = {"meter": "meters", "vehicle": "vehicles"}


def number(value: float | Decimal | None, decimals: int = 0) -> str:
    """A figure with thin spaces between thousands; a dash where it is not known."""
    if value is None:
        return UNKNOWN
    text = f"{value:,.{decimals}f}".replace(",", _THIN)
    # -0.0 is what rounding leaves of noise.
    if float(f"{value:.{decimals}f}") == 0:
        return text.removeprefix("-")
    return text.replace("-", "\N{MINUS SIGN}")


def signed(value: float | Decimal, decimals: int) -> str:
    """A change, with its sign."""
    text = number(value, decimals)
    return f"+{text}" if value > 0 and float(f"{value:.{decimals}f}") else text


def plural(kind: str, count: int) -> str:
    """A number of devices in words."""
    return f"{number(count)} {word(kind)}{'' if count == 1 else 's'}"


def word(kind: str) -> str:
    """The word that people have for a device of a kind."""
    return "charger" if kind == "meter" else kind


def device_link(base: str, kind: str, device_id: str) -> str:
    """The page of a device."""
    return f"{base}/{_FOLDERS[kind]}/{quote(device_id, safe='')}"


def duration(length: timedelta) -> str:
    """A time of silence."""
    hours = length / timedelta(hours=1)
    if hours < 48:
        return f"{hours:.0f} h"
    return f"{number(hours / 24)} days"
