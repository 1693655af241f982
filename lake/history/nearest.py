"""The readings with an energy at both ends of some rows, of each series."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lake.schema.streams import REGISTER, Stream

READINGS_BESIDE: Final = 20
"""So many readings with an energy of each series lie before and after a window.

Nine decide what the one beside them means. With so many, a meter's quarter of an hour that crosses
the edge is divided as the energy of a vehicle was that sends each minute.
"""


_AFTER_A_RISE: Final = 4  # readings: a false one is followed by a right one within three


@dataclass(frozen=True)
class SeriesEnds:
    """The `first` and the `last` READINGS_BESIDE readings with an energy of each series.

    Of a register that stands still for longer, `first` has where it rises as well: the last value
    before and four of then on, which tell whether it was frozen.
    Both are sorted by device and time. `series` has a row for each series, with the columns of
    `Stream.series`, and `full` those with so many readings.
    """

    first: pl.DataFrame
    last: pl.DataFrame
    series: pl.DataFrame
    full: pl.DataFrame


def with_energy(stream: Stream) -> pl.Expr:
    """Return the condition that the energy of a reading is known."""
    return pl.col(stream.energy).is_not_null()


def of_devices(stream: Stream, devices: Collection[str]) -> pl.Expr:
    """Return the condition that a row is of these devices; a scan skips what lies outside."""
    ids = sorted(devices)
    if not ids:
        return pl.lit(False)
    device = pl.col(stream.device)
    first, last = (pl.lit(bound, pl.String) for bound in (ids[0], ids[-1]))
    return device.is_between(first, last) & device.is_in(ids)


def series_ends(rows: pl.DataFrame, stream: Stream) -> SeriesEnds:
    """Find the ends of each series; `rows` have the columns of the history, in any order."""
    series = list(stream.series)
    known = rows.filter(with_energy(stream)) if rows[stream.energy].null_count() else rows
    if known.is_empty():
        return SeriesEnds(known, known, known.select(series), known.select(series))
    starts = _starts(known, series)
    devices = known[stream.device][starts]
    is_sorted = devices.is_sorted() and not devices.is_duplicated().any()
    if not (is_sorted and _is_in_time(known, starts)):
        known = known.sort(*series, "timestamp", maintain_order=True)
        starts = _starts(known, series)
    lengths = np.diff(starts, append=known.height)
    place = np.arange(known.height) - np.repeat(starts, lengths)
    to_end = np.repeat(lengths, lengths) - place
    is_first = (place < READINGS_BESIDE) | _rises_later(known, stream, starts, lengths)
    first = known.filter(pl.Series(is_first))
    last = known.filter(pl.Series(to_end <= READINGS_BESIDE))
    if not is_sorted:  # the series of a device lie one behind the other
        first, last = (end.sort(stream.key, maintain_order=True) for end in (first, last))
    heads = known.select(series)[starts]
    return SeriesEnds(first, last, heads, heads.filter(pl.Series(lengths >= READINGS_BESIDE)))


def _rises_later(
    known: pl.DataFrame, stream: Stream, starts: NDArray[np.intp], lengths: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Where a register that stood still for more than READINGS_BESIDE readings first rises."""
    found = np.zeros(known.height, np.bool_)
    if not (known["reading_type"] == REGISTER).any():
        return found
    energy = known[stream.energy].to_numpy()
    rises = np.flatnonzero(energy > np.repeat(energy[starts], lengths))
    series = np.searchsorted(starts, rises, "right") - 1
    is_first = np.diff(series, prepend=-1) != 0
    rises, series = rises[is_first], series[is_first]
    is_late = rises - starts[series] >= READINGS_BESIDE
    is_late &= (known["reading_type"][rises] == REGISTER).to_numpy()
    for place in range(-1, _AFTER_A_RISE):
        at = rises[is_late] + place
        found[at[at < (starts + lengths)[series[is_late]]]] = True
    return found


def _starts(rows: pl.DataFrame, series: list[str]) -> NDArray[np.intp]:
    """Where a row is of another series than the one before it."""
    differs = [pl.col(name).ne_missing(pl.col(name).shift(1)) for name in series]
    begins = rows.select(pl.any_horizontal(differs)).to_series()
    return np.flatnonzero(np.concatenate([[True], begins[1:].to_numpy()]))


def _is_in_time(rows: pl.DataFrame, starts: NDArray[np.intp]) -> bool:
    """Whether the rows of each series stand in order of time, as those of a sorted hour do."""
    goes_back = np.diff(rows["timestamp"].to_physical().to_numpy()) < 0
    goes_back[starts[1:] - 1] = False
    return not goes_back.any()
