"""Ratio, status and reason of merged facts: the only place that divides DC by AC energy.

Explained in docs/energy.md.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from lake.energy.facts import Facts, SideFacts
from lake.energy.intervals import HOUR, KWH, Flags, Integers
from lake.settings import EnergySettings

RATED: Final = ("excellent", "good", "warning", "critical")
STATUSES: Final = (*RATED, "idle", "insufficient_data", "unmapped", "implausible")

# What the status rests on; the first that applies.
REASONS: Final = {
    "no_link": "Nothing links a meter and a vehicle in this time.",
    "left_out_ac": "More than a tenth of the AC energy could not be believed.",
    "unplaced_ac": "When more than a tenth of the AC energy flowed is not known.",
    "conflict_ac": "A meter sent two energies for one time that differ by more than a tenth of "
    "what it measured.",
    "left_out_dc": "More than a tenth of the DC energy could not be believed.",
    "unplaced_dc": "When more than a tenth of the DC energy flowed is not known.",
    "conflict_dc": "The vehicle sent two energies for one time that differ by more than a tenth of "
    "what it received.",
    "nothing_flowed": "Nothing was charged.",
    "not_known_ac": "No AC energy is known.",
    "not_known_dc": "No DC energy is known.",
    "unmatched_ac": "More than a tenth of the AC energy flowed while the vehicle's was not known.",
    "unmatched_dc": "More than a tenth of the DC energy flowed while the meter's was not known.",
    "one_side_only": "Energy flowed on one side only.",
    "above_100_percent": "More energy arrived than was taken from the grid.",
    "below_floor": "So much would not be lost without fire: a sensor, a link, or a battery being "
    "heated.",
    "rated": "Rated.",
}
_STATUS_OF: Final = {
    "no_link": "unmapped",
    "nothing_flowed": "idle",
    "one_side_only": "implausible",
    "above_100_percent": "implausible",
    "below_floor": "implausible",
}
_TENTH: Final = 0.1
_JUDGED_DECIMALS: Final = 4


@dataclass(frozen=True)
class Limits:
    """Limits of the ratio of each owner, percent."""

    warning_from: npt.NDArray[np.float64]
    good_from: npt.NDArray[np.float64]
    excellent_above: npt.NDArray[np.float64]
    implausible_below: npt.NDArray[np.float64]

    @classmethod
    def of_classes(cls, classes: list[str | None], settings: EnergySettings) -> "Limits":
        """Return the limits of owners by their charger class."""
        by_class = {name: settings.status_limits(name) for name in set(classes)}
        rows = np.array([by_class[name] for name in classes], np.float64).reshape(-1, 4)
        return cls(*rows.T)


@dataclass(frozen=True)
class Rating:
    """Status and reason of each owner; `percent` is NaN where there is no ratio."""

    status: list[str]
    reason: list[str]
    percent: npt.NDArray[np.float64]


def rate(facts: Facts, is_linked: Flags, limits: Limits, settings: EnergySettings) -> Rating:
    """Return the first status that applies: first the unknown, then the wrong, then ratios."""
    ac, dc = facts.ac, facts.dc
    small = settings.idle_below_kwh * KWH
    hours = np.maximum(1.0, (facts.end - facts.start) / HOUR)
    flowed_ac, flowed_dc = ac.matched + ac.unmatched, dc.matched + dc.unmatched
    percent = efficiency_percent(ac.matched, dc.matched)
    judged = np.round(percent, _JUDGED_DECIMALS)
    share = settings.matched_share_limit
    conditions = {
        "no_link": ~is_linked,
        **_unreadable(ac, "ac", small),
        **_unreadable(dc, "dc", small),
        "nothing_flowed": (ac.known > 0) & (flowed_ac < small * hours) & (flowed_dc < small),
        "not_known_ac": ac.known == 0,
        "not_known_dc": dc.known == 0,
        "unmatched_ac": ac.gross_matched < share * ac.gross,
        "unmatched_dc": dc.gross_matched < share * dc.gross,
        "one_side_only": (ac.matched < small) | (dc.matched <= 0) | (ac.matched <= 0),
        "above_100_percent": judged > 100,
        "below_floor": judged < limits.implausible_below,
    }
    codes = list(conditions)
    found = _first_that_applies(*conditions.values())
    grade = _first_that_applies(
        judged > limits.excellent_above, judged >= limits.good_from, judged >= limits.warning_from
    )
    has_ratio = found >= codes.index("above_100_percent")
    reasons = [*codes, "rated"]
    statuses = [_STATUS_OF.get(code, "insufficient_data") for code in codes]
    return Rating(
        [
            statuses[n] if n < len(codes) else RATED[g]
            for n, g in zip(found.tolist(), grade.tolist(), strict=True)
        ],
        [reasons[n] for n in found.tolist()],
        np.where(has_ratio, percent, np.nan),
    )


def efficiency_percent(ac: Integers, dc: Integers) -> npt.NDArray[np.float64]:
    """Return 100 * DC / AC to 9 decimals, never clamped; NaN without AC energy.

    Floats would make 84.99999999999999 % of 10.2 / 12 kWh, on the wrong side of a limit.
    """
    ratio = 100 * dc / np.where(ac > 0, ac, 1)
    percent: npt.NDArray[np.float64] = np.where(ac > 0, np.round(ratio, 9), np.nan)
    return percent


def _first_that_applies(*conditions: Flags) -> Integers:
    """Return the number of the first condition that each meets; of one that meets none the next."""
    every: Integers = np.argmax(np.array((*conditions, np.ones_like(conditions[0]))), axis=0)
    return every


def _unreadable(side: SideFacts, name: str, small: float) -> dict[str, Flags]:
    most = _TENTH * np.maximum(np.abs(side.placed + side.unplaced), small)
    return {
        f"left_out_{name}": side.left_out > most,
        f"unplaced_{name}": side.unplaced > most,
        f"conflict_{name}": side.conflicting > most,
    }
