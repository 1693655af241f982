"""Parsing of numbers."""

import math
import re
from typing import Final

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def parse_number(text: str) -> float | None:
    """Return the number that a text is, with blanks around it or not; None if it is none.

    Digits, a decimal point and an exponent. Python would also read 0_25 as 25, digits of other
    scripts, nan and inf.
    """
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None
