"""The curve of one vehicle: its energy, efficiency, state of charge and temperature, step by step.

Explained in docs/energy.md.
"""

from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl

from lake.energy.exact import DECIMALS, exact_mean
from lake.energy.intervals import KWH, UNPLACED, Flags, Integers, expand_ranges
from lake.energy.pieces import Pieces, SideReadings, Windows
from lake.energy.status import efficiency_percent
from lake.energy.windows import RunningFacts, energy_in
from lake.schema.partitions import microseconds, utc_window
from lake.settings import EnergySettings

# More points than a screen shows are no more to see; less than 300 are read as a curve.
STEPS: Final = tuple(timedelta(minutes=minutes) for minutes in (5, 15, 60, 180, 1440))
_MOST_STEPS: Final = 300

_MICROSECOND = timedelta(microseconds=1)
_TEN_MINUTES = 600_000_000  # microseconds


def curve_step(start: datetime, end: datetime) -> timedelta:
    """Return the shortest of STEPS that cuts the window into 300 parts or less, or the longest."""
    return next((step for step in STEPS if (end - start) / step <= _MOST_STEPS), STEPS[-1])


def vehicle_curve(
    sides: tuple[SideReadings, SideReadings],
    vehicle: pl.DataFrame,
    start: datetime,
    end: datetime,
    step: timedelta,
    settings: EnergySettings,
) -> pl.DataFrame:
    """Return one row for each step with a part in [start, end), in order.

    `sides` are both sides of the vehicle, from `linked_sides`, `vehicle` its heartbeats. Steps
    begin at whole multiples of their length since 1970, so that a later window has the same ones.

    Columns: `begins`; energy_ac_kwh and energy_dc_kwh, null where nothing of the step is known;
    efficiency_percent, null unless both sides are known as far as a ratio needs, and where energy
    began or ceased to flow in the step (but for ten minutes of a longer step); soc and
    battery_temp, means of the readings in the step, null where there is none. The steps together
    have exactly the energy of the window.
    """
    start, end = utc_window(start, end)
    width = step // _MICROSECOND
    first, last = microseconds(start) // width, (microseconds(end) - 1) // width
    begins = np.arange(first, last + 1) * width
    windows = Windows(
        np.maximum(begins, microseconds(start)), np.minimum(begins + width, microseconds(end))
    )
    ac, dc = (_Steps(side, windows) for side in sides)
    limit, length = settings.matched_share_limit, windows.end - windows.start
    shows = np.ones(len(begins), np.bool_)
    for side in (ac, dc):
        flows = side.flowing
        shows &= side.known >= limit * length
        shows &= (flows == 0) | (flows >= limit * np.minimum(length, _TEN_MINUTES))
        shows &= ~side.has_unplaced
    matched_ac, matched_dc = _matched(sides, windows)
    shows &= (matched_ac >= settings.idle_below_kwh * KWH) & (matched_ac > 0)
    percent = np.where(shows, efficiency_percent(matched_ac, matched_dc), np.nan)
    curve = pl.DataFrame(
        {
            "begins": pl.Series(begins).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
            "energy_ac_kwh": pl.Series(ac.energy / KWH).set(pl.Series(~ac.is_known), None),
            "energy_dc_kwh": pl.Series(dc.energy / KWH).set(pl.Series(~dc.is_known), None),
            "efficiency_percent": pl.Series(percent).fill_nan(None),
        }
    )
    place = (pl.col("timestamp").dt.epoch("us") // width) * width
    state = (
        vehicle.lazy()
        .filter(pl.col("timestamp") >= start, pl.col("timestamp") < end)
        .group_by(begins=place.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
        .agg(
            exact_mean(pl.col("soc")).round(DECIMALS),
            exact_mean(pl.col("battery_temp")).round(DECIMALS),
        )
        .collect()
    )
    return curve.join(state, on="begins", how="left", maintain_order="left")


class _Steps:
    """Energy, known time and time in which energy flowed of each step."""

    def __init__(self, side: SideReadings, windows: Windows) -> None:
        steps = len(windows.start)
        of_steps = _repeated(side.pieces, windows)
        found = energy_in(of_steps, windows)
        self.energy, self.known = found
        self.flowing = energy_in(_where(of_steps, of_steps.energy != 0), windows).known
        late = _where(of_steps, of_steps.kind == UNPLACED)
        inside = (late.end >= windows.start[late.owner]) & (late.end < windows.end[late.owner])
        self.has_unplaced: Flags = np.bincount(late.owner[inside], minlength=steps) > 0
        self.is_known: Flags = (self.known > 0) | self.has_unplaced


def _matched(
    sides: tuple[SideReadings, SideReadings], windows: Windows
) -> tuple[Integers, Integers]:
    """Matched energy of both sides in each step."""
    ac, dc = sides
    nobody, steps = np.zeros(0, np.int64), len(windows.start)
    whole = Windows(windows.start[:1], windows.end[-1:])
    running = RunningFacts.of(ac, dc, whole, (nobody, nobody, nobody))
    facts = running.between(windows, np.zeros(steps, np.int64))
    return facts.ac.matched, facts.dc.matched


def _repeated(pieces: Pieces, windows: Windows) -> Pieces:
    """The pieces of one owner for each window that they have a part in, with its number."""
    # Sorted by end; of those from a row on none begins before the least of their starts.
    starts = np.minimum.accumulate(pieces.start[::-1])[::-1]
    low = np.searchsorted(pieces.end, windows.start, side="right")
    high = np.searchsorted(starts, windows.end, side="left")
    owner, row = expand_ranges(low, np.maximum(high - low, 0))
    return Pieces(owner, *(column[row] for column in pieces[1:]))


def _where(pieces: Pieces, mask: Flags) -> Pieces:
    return Pieces(*(column[mask] for column in pieces))
