"""Trends of devices: since when the level falls, how fast, and how long until a limit.

Three courses are fitted to the weekly levels of each device by weighted least squares: the same all
the time; the same until a week, and from there on a straight fall (a hinge); the same until a week,
and another one from there on (a step). The week is the one that leaves the least. `z` is the
greatest number of standard errors by which hinge or step is not zero, with the errors widened where
the levels stray more than their sessions say (the dispersion, at least 1).

The slope from the found week on is Theil and Sen's, with Sen's interval (1968).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import ndtri

from lake.condition.levels import WEEKS
from lake.condition.sessions import column_types
from lake.schema.device_condition import EFFICIENCY_TREND

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

DRIFT: Final = "drift"
STEP: Final = "step"

TRENDS: Final = column_types(EFFICIENCY_TREND)
"""Columns of trends: those of EFFICIENCY_TREND without the day.

`change_percent` is by the fitted course. `days_to_limit` counts from the last of the WEEKS on."""

RECENT_WEEKS: Final = 4
FEWEST_WEEKS: Final = 8
OWN_COLD: Final = 0.3
"""Part by which a device loses more or less by cold than the fleet does: its deviation."""

_LEAST_SPREAD: Final = 1e-9
_AFTER: Final = 2
_BEFORE: Final = 4
_FEWEST_FOR_A_SLOPE: Final = 4
_ROWS_AT_ONCE: Final = 500
_WEEKS_A_MONTH: Final = 365.25 / 12 / 7


def efficiency_trends(levels: pl.DataFrame, limit_percent: float = 80.0) -> pl.DataFrame:
    """Return TRENDS, one row for each device of `weekly_levels` with at least FEWEST_WEEKS."""
    devices = (
        levels.group_by("device_kind", "device_id")
        .agg(
            weeks=pl.len().cast(pl.Int64),
            sessions=pl.col("sessions").sum().cast(pl.Int64),
            expected=pl.col("expected_efficiency_percent").mean(),
        )
        .filter(pl.col("weeks") >= FEWEST_WEEKS)
        .sort("device_kind", "device_id")
        .with_row_index("row")
    )
    known = levels.join(devices, on=["device_kind", "device_id"])
    place = known["row"].to_numpy(), known["week"].to_numpy() + WEEKS
    level = np.zeros((devices.height, WEEKS))
    weight = np.zeros_like(level)
    level[place] = known["level_percent"].to_numpy()
    weight[place] = known["standard_error"].to_numpy() ** -2.0
    cold = np.zeros_like(level)
    cold[place] = known["cold_percent"].to_numpy()
    fits = [_best(level, weight, cold, course) for course in (DRIFT, STEP)]
    is_step = fits[1].explains > fits[0].explains
    best = _Fit.where(is_step, fits[1], fits[0])
    recent, recent_error = _recent(level, weight)
    widened = np.sqrt(best.dispersion)
    slope = sen_slopes(level, (weight > 0) & (np.arange(WEEKS) >= best.week[:, None]))
    expected = devices["expected"].to_numpy()
    days = _days_to_limit(expected * np.exp(recent / 100), slope, limit_percent)
    return devices.select(
        "device_kind",
        "device_id",
        "weeks",
        "sessions",
        usual_percent=pl.Series(best.before),
        level_percent=pl.Series(recent),
        level_error=pl.Series(recent_error * widened),
        course=pl.Series(np.where(is_step, STEP, DRIFT)),
        change_week=pl.Series(best.week - WEEKS),
        change_percent=pl.Series(best.change),
        change_error=pl.Series(best.error * widened),
        z=pl.Series(best.change / (best.error * widened)),
        **{
            name: pl.Series(slope[:, at] * _WEEKS_A_MONTH)
            for at, name in enumerate(("slope_percent_a_month", "slope_low", "slope_high"))
        },
        efficiency_percent=pl.Series(expected * np.exp(recent / 100)),
        **{
            name: pl.Series(days[:, at])
            for at, name in enumerate(("days_to_limit", "days_to_limit_low", "days_to_limit_high"))
        },
        weekly_level_percent=pl.Series(np.where(weight > 0, level, np.nan))
        .cast(pl.List(pl.Float64))
        .list.eval(pl.element().fill_nan(None)),
    ).select(
        pl.col(name).fill_nan(None) if kind.is_float() else name for name, kind in TRENDS.items()
    )


@dataclass(frozen=True)
class _Fit:
    """The best course of each device: arrays of one value a device."""

    explains: Floats
    week: Integers
    before: Floats
    change: Floats
    error: Floats
    dispersion: Floats

    @classmethod
    def where(cls, takes_first: Flags, first: "_Fit", other: "_Fit") -> "_Fit":
        names = ("explains", "week", "before", "change", "error", "dispersion")
        return cls(
            *(np.where(takes_first, getattr(first, name), getattr(other, name)) for name in names)
        )


def _best(level: Floats, weight: Floats, cold: Floats, course: str) -> _Fit:
    """Fit one course with each week that has enough known ones on either side.

    Beside it a constant, and `cold` with a coefficient that is 0 but for OWN_COLD (a ridge).
    """
    count, weeks = level.shape
    time = np.arange(weeks, dtype=np.float64)
    known = weight > 0
    seen = np.cumsum(known, axis=1)
    total = seen[:, -1]
    weighted, chilled = weight * level, weight * cold
    base = _Base.of(weight.sum(axis=1), chilled.sum(axis=1), (chilled * cold).sum(axis=1))
    sums = weighted.sum(axis=1), (weighted * cold).sum(axis=1)
    stray = (weighted * level).sum(axis=1) - base.project(sums, sums)
    explains = np.full(count, -1.0)
    week = np.zeros(count, np.int64)
    before, change, error = np.zeros(count), np.zeros(count), np.full(count, np.inf)
    for at in range(weeks - 1):
        x = np.maximum(time - at, 0) if course == DRIFT else (time >= at).astype(np.float64)
        # Known weeks up to the hinge, or before the step.
        ahead = seen[:, at] if course == DRIFT else seen[:, at] - known[:, at]
        of_x = weight @ x, chilled @ x
        spread = weight @ x**2 - base.project(of_x, of_x)
        enough = (ahead >= _BEFORE) & (total - ahead >= _AFTER) & (spread > _LEAST_SPREAD)
        if course == DRIFT and at == 0:
            enough = spread > _LEAST_SPREAD  # it has fallen all the time
        spread = np.where(enough, spread, 1.0)
        slope = (weighted @ x - base.project(of_x, sums)) / spread
        better = enough & (slope**2 * spread > explains)
        explains = np.where(better, slope**2 * spread, explains)
        week = np.where(better, at, week)
        before = np.where(better, base.constant(of_x, sums, slope), before)
        rise = x[-1] if course == DRIFT else 1.0
        change = np.where(better, slope * rise, change)
        error = np.where(better, rise / np.sqrt(spread), error)
    left = np.maximum(stray - explains, 0)
    dispersion = np.maximum(left / np.maximum(total - 3, 1), 1)
    return _Fit(explains, week, before, change, error, dispersion)


Pair = tuple[Floats, Floats]


@dataclass(frozen=True)
class _Base:
    """The inverse of the normal matrix of the constant and the cold, of each device."""

    of_constant: Floats
    of_both: Floats
    of_cold: Floats

    @classmethod
    def of(cls, weights: Floats, cold: Floats, squares: Floats) -> "_Base":
        squares = squares + OWN_COLD**-2
        determinant = weights * squares - cold**2
        return cls(squares / determinant, -cold / determinant, weights / determinant)

    def project(self, one: Pair, other: Pair) -> Floats:
        """The part of a product of sums that constant and cold explain."""
        return one[0] * (self.of_constant * other[0] + self.of_both * other[1]) + one[1] * (
            self.of_both * other[0] + self.of_cold * other[1]
        )

    def constant(self, of_x: Pair, sums: Pair, slope: Floats) -> Floats:
        """The constant that remains beside a slope."""
        left = sums[0] - slope * of_x[0], sums[1] - slope * of_x[1]
        return self.of_constant * left[0] + self.of_both * left[1]


def _recent(level: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Mean of the last RECENT_WEEKS and its standard error; NaN where none is known."""
    last_level, last_weight = level[:, -RECENT_WEEKS:], weight[:, -RECENT_WEEKS:]
    total = last_weight.sum(axis=1)
    some = np.where(total > 0, total, np.nan)
    return (last_level * last_weight).sum(axis=1) / some, some**-0.5


def sen_slopes(level: Floats, known: Flags) -> Floats:
    """Return slope, lower and upper end (95 %) of each row of levels, by Theil and Sen.

    `level` and `known` are [devices, weeks]; the result is [devices, 3], a step a week; NaN where
    fewer than four weeks are known. The same as `scipy.stats.theilslopes`, for many rows at once.
    """
    first, second = np.triu_indices(level.shape[1], 1)
    count = known.sum(axis=1)
    pairs = count * (count - 1) // 2
    half = ndtri(0.975) * np.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    last = np.maximum(pairs - 1, 0)
    ranks = (
        last // 2,
        (last + 1) // 2,
        np.maximum(np.round((pairs - half) / 2).astype(np.int64) - 1, 0),
        np.minimum(np.round((pairs + half) / 2).astype(np.int64), last),
    )
    slopes = np.full((len(level), 3), np.nan)
    for begin in range(0, len(level), _ROWS_AT_ONCE):
        rows = slice(begin, begin + _ROWS_AT_ONCE)
        each = (level[rows][:, second] - level[rows][:, first]) / (second - first)
        each[~(known[rows][:, first] & known[rows][:, second])] = np.inf  # behind all others
        each.sort(axis=1)
        lower, upper, low, high = (
            np.take_along_axis(each, rank[rows, None], axis=1)[:, 0] for rank in ranks
        )
        slopes[rows] = np.column_stack(((lower + upper) / 2, low, high))
    slopes[count < _FEWEST_FOR_A_SLOPE] = np.nan
    return slopes


def _days_to_limit(efficiency: Floats, slopes: Floats, limit_percent: float) -> Floats:
    """Days until the limit by each slope; NaN where it does not fall."""
    room = 100 * np.log(efficiency / limit_percent)[:, None]
    falls = slopes < 0
    days = 7 * room / np.where(falls, -slopes, 1.0)
    return np.where(room <= 0, 0.0, np.where(falls, days, np.nan))
