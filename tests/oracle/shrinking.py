"""The smallest fleet in which something is still so."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.oracle.rows import moment
from tests.oracle.worlds import Fleet

_PLAIN: dict[str, Any] = {"duplicates": 0, "temperature": None, "other": None, "declared": None}


def shrunk(fleet: Fleet, still: Callable[[Fleet], bool]) -> Fleet:
    """Leave out heartbeats, links and details without which it is still so."""
    before = None
    while before != fleet:
        before = fleet
        for name in ("links", "meters", "vehicles"):
            size = len(getattr(fleet, name))
            while size:
                at = 0
                while at < len(rows := getattr(fleet, name)):
                    rest: Any = rows[:at] + rows[at + size :]
                    fewer = replace(fleet, **{name: rest})
                    if still(fewer):
                        fleet = fewer
                    else:
                        at += size
                size //= 2
        for name in ("meters", "vehicles"):
            for at in range(len(getattr(fleet, name))):
                for detail, value in _PLAIN.items():
                    rows = getattr(fleet, name)
                    plain = replace(rows[at], **{detail: value})
                    one_plain: Any = (*rows[:at], plain, *rows[at + 1 :])
                    plainer = replace(fleet, **{name: one_plain})
                    if plain != rows[at] and still(plainer):
                        fleet = plainer
    return fleet


def words(fleet: Fleet) -> str:
    """A fleet, a line for each link and heartbeat."""
    links = [
        f"{k.meter} feeds {k.vehicle} from {moment(k.start)} to {moment(k.end)}, {k.source}"
        for k in fleet.links
    ]
    beats = [
        f"{h.device} {moment(h.at)} {'register' if h.register else 'interval'} {h.energy} "
        + str({n: v for n in ("phase", *_PLAIN) if (v := getattr(h, n))})
        for h in sorted(fleet.meters + fleet.vehicles, key=lambda h: (h.device, h.at))
    ]
    power = fleet.settings.greatest_vehicle_power_kw
    return "\n".join([f"{dict(fleet.classes)}, vehicles {power} kW", *links, *beats])
