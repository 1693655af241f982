"""Time zones by their IANA names; the package tzdata has them where the system has not."""

from zoneinfo import ZoneInfo


def time_zone(name: str) -> ZoneInfo:
    """Return the zone; ValueError, with an example, for a name that none has."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}; name one like Europe/Berlin") from None
