"""The hourly tables of a fleet beside its true energies, by kind of device.

A simulated fleet charges; its meters and vehicles tell of it in the ways that exist, and the lake's
own functions compute the tables of each hour once everything has arrived. The kinds are in
tests/harness/true_fleet/kinds.py; a name is that of the meter, then of the vehicle, where they are
not alike. Nothing is written, and no process is started.

Columns: `hours` with energy (at least 0.05 kWh AC), and the part of them that is `rated`; `of
whole`: the same of the hours whose energies follow from what was sent; `median` and `p99` of the
error of the efficiency in rated hours, percentage points; `false`: hours of healthy vehicles, truly
85 % or better or without energy, that are `warning` or `critical`; `bad`: whole hours that are
truly under 80 %, and the part of them that is `missed`, which are not `critical`; `AC` and `DC`:
relative error of all energy; and the commonest status of hours with energy that are not rated.
"""

import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from benchmarks.table import Report
from tests.harness.true_fleet.fleet import FAILING, HEALTHY, TrueFleet
from tests.harness.true_fleet.kinds import KINDS
from tests.harness.true_fleet.scoreboard import Score, judged_hours, scores

CASE_NAMES: Final = tuple(kind.name for kind in KINDS)


@dataclass(frozen=True)
class _ScoreRow:
    score: Score

    def texts(self) -> dict[str, str]:
        """The text of each column."""
        one = self.score
        return {
            "kind": one.name,
            "hours": f"{one.charging:,}",
            "rated": _share(one.rated),
            "of whole": _share(one.rated_of_whole),
            "median": _points(one.error_median),
            "p99": _points(one.error_p99),
            "healthy": f"{one.healthy:,}",
            "false": f"{one.false_alarms:,}",
            "bad": f"{one.bad:,}",
            "missed": _share(one.missed),
            "AC": _error(one.energy_ac),
            "DC": _error(one.energy_dc),
            "not rated": one.unrated_as,
        }


def measure(
    names: Collection[str], vehicles: int, days: int, seed: int, failing_share: float
) -> Report:
    """Score the named kinds, so many vehicles each, and all of them together."""
    began = time.perf_counter()
    kinds = [kind for kind in KINDS if kind.name in names]
    fleet = TrueFleet(vehicles, 24 * days, seed, failing_share, kinds)
    sys.stderr.write(f"{len(fleet.vehicles)} vehicles, {24 * days} hours\n")
    rows = [_ScoreRow(score) for score in scores(judged_hours(fleet))]
    notes = [
        f"seed {seed}; {failing_share:.0%} of the vehicles have a charger of "
        f"{FAILING[0]:.0%}-{FAILING[1]:.0%}, the others of {HEALTHY[0]:.0%}-{HEALTHY[1]:.0%}; "
        f"{time.perf_counter() - began:.0f} s"
    ]
    return Report(rows, notes, [])


def _share(part: float | None) -> str:
    return "" if part is None else f"{100 * part:.1f} %"


def _points(error: float | None) -> str:
    return "" if error is None else f"{error:.3f}"


def _error(relative: float | None) -> str:
    return "" if relative is None else f"{100 * relative:+,.2f} %"
