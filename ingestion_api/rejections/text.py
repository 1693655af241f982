"""Printable text of refused input, safe for any database, terminal and page."""

import json
from typing import Final

DEVICE_CHARACTERS: Final = 64
"""Most characters of a device's id that are kept."""

_ENCODER: Final = json.JSONEncoder(default=str, separators=(",", ":"))


def printable_text(value: object, most: int) -> str:
    """Return at most `most` printable ASCII characters of a text, or of any other value's JSON.

    Other characters are escaped as Python does (`\\x00`, `\\u202e`): PostgreSQL refuses NUL and
    lone surrogates, and invisible characters could deceive the reader. It costs what it shows, not
    what the value holds.
    """
    if isinstance(value, bytes):
        text = value[:most].decode("utf-8", "backslashreplace")
    elif isinstance(value, str):
        text = value[:most]
    else:
        text = _json(value, most)
    if text.isascii() and text.isprintable():
        return text[:most]
    return "".join(_visible(character) for character in text)[:most]


def _visible(character: str) -> str:
    if character.isascii() and character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def _json(value: object, most: int) -> str:
    """The start of its JSON."""
    text = ""
    try:
        for part in _ENCODER.iterencode(value):
            text += part[: most - len(text)]
            if len(text) >= most:
                break
    except (ValueError, TypeError, RecursionError):
        # JSON can't say it: an integer of very many digits, a value nested very deep.
        text = text[: most - 3] + "..."
    return text
