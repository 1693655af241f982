"""Validation errors of Pydantic in words for the sender."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from pydantic import BaseModel

from ingestion_api.heartbeats.contract import ID_PATTERN, ID_REASON, TIME_REASON

RULE_NAME: Final = "^[a-z0-9_-]{1,60}$"
NEW_RULE_NAME: Final = "^[a-z0-9][a-z0-9_-]{0,59}$"
FAULT_CODE: Final = "^[a-z_]{1,40}$"
PRINTABLE: Final = "^[ -~]+$"
PERIOD: Final = r"^\d{4}-(\d{2}-\d{2}|W\d{2}|\d{2})$"

_MEANINGS: Final = {
    ID_PATTERN: ID_REASON,
    RULE_NAME: "must be 1-60 characters of a-z, 0-9, _ and -",
    NEW_RULE_NAME: "must be 1-60 characters of a-z, 0-9, _ and -, a letter or digit first",
    FAULT_CODE: "must be 1-40 characters of a-z and _",
    PRINTABLE: "must be printable ASCII characters",
    PERIOD: "must be a day, an ISO week or a month: 2026-03-01, 2026-W09 or 2026-03",
}
_NEAR: Final = 0.6  # how like another a name must be to be taken for it, 0-1


def describe_error(error: Mapping[str, Any], known: Sequence[str] = ()) -> str:
    """Describe one of Pydantic's errors; `known` are the fields that there are."""
    match error.get("type"):
        case "extra_forbidden" if known:
            return unknown_name("field", str(error["loc"][-1]), known)
        case "string_pattern_mismatch" if error["ctx"]["pattern"] in _MEANINGS:
            return _MEANINGS[error["ctx"]["pattern"]]
        case "missing":
            return "is required"
        case "datetime_type" | "datetime_parsing" | "datetime_from_date_parsing" | "timezone_aware":
            return TIME_REASON
    said = str(error.get("msg", "is not valid")).removeprefix("Value error, ")
    return said.replace("Input should", "must", 1)


def unknown_name(what: str, name: str, known: Sequence[str]) -> str:
    """Say that a name is unknown, which one may have been meant, and all that are known."""
    if not known:
        return f"there is no such {what}, and there are none here"
    by_lower = {one.lower(): one for one in known}
    near = get_close_matches(name[:100].lower(), by_lower, 1, _NEAR)
    meant = f", did you mean {by_lower[near[0]]}? There" if near else "; there"
    return f"there is no such {what}{meant} are {', '.join(known)}"


def json_fields(kind: type[BaseModel]) -> list[str]:
    """The names of a model's fields in JSON."""
    return [field.alias or name for name, field in kind.model_fields.items()]
