"""The heartbeats of one stream, hour after hour, as the raw table alone tells them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from lake import HOUR, REGISTER, EnergySettings, Lake, Stream, TableMissing, scan_history
from lake.hours import in_hours
from lake.merge import merge_heartbeats


@dataclass(frozen=True)
class StreamHour:
    """One stream's hour: what raw holds, what should be in the history, what is.

    `expected` and `history` have the columns of the history, sorted by device and time.
    `raw_rows` is null where raw heartbeats of the hour were dropped after their retention. Then,
    and where raw lacks heartbeats that the history has (`lost`), the history counts as well.
    """

    stream: Stream
    raw_rows: int | None
    lost: pl.DataFrame
    last_arrival: datetime | None
    expected: pl.DataFrame
    history: pl.DataFrame


class HeartbeatsInOrder:
    """Reads hours in ascending order and keeps what the next ones need to know of those before.

    The context is that of `lake.scan_context`, but every hour is read once instead of once for
    each hour of the look-back.
    """

    def __init__(self, lake: Lake, stream: Stream, settings: EnergySettings) -> None:
        self._lake, self._stream = lake, stream
        self._gap = timedelta(seconds=settings.largest_gap_seconds)
        self._look_back = timedelta(hours=settings.register_lookback_hours)
        columns = [column.name for column in stream.columns]
        self._empty = pl.DataFrame(stream.arrow_schema.empty_table()).select(
            *columns, duplicates=pl.lit(0, pl.Int64)
        )
        self._before = self._empty

    @property
    def has_registers(self) -> bool:
        """Whether a register was read of which a later reading may be counted from."""
        return not self._before.filter(self._is_value).is_empty()

    def read(self, hour: datetime, *, raw_dropped: bool) -> StreamHour:
        """The hour as it is now; TableMissing if there is no raw table."""
        raw = self._raw(hour).collect()
        history = self._history(hour)
        lost = self._lost(history, raw)
        if raw_dropped:
            lost = lost.clear()
        known = history if raw_dropped or lost.height else self._empty
        arrivals = [frame["received_at"].max() for frame in (raw, known) if frame.height]
        return StreamHour(
            stream=self._stream,
            raw_rows=None if raw_dropped else raw.height,
            lost=lost,
            last_arrival=max((at for at in arrivals if isinstance(at, datetime)), default=None),
            expected=merge_heartbeats(self._stream, known.lazy(), [raw.lazy()]).collect(),
            history=history,
        )

    def with_context(self, hour: datetime, rows: pl.DataFrame) -> pl.DataFrame:
        """The heartbeats of an hour and the predecessors of its first ones."""
        near = pl.col("timestamp") >= hour - self._gap
        registers = self._before.filter(~near, self._is_value).filter(
            pl.col("timestamp") >= hour - self._look_back
        )
        return pl.concat([registers, self._before.filter(near), rows])

    def move_on(self, hour: datetime, rows: pl.DataFrame) -> None:
        """Keep of the hour, and of those before, what later hours need."""
        near = pl.col("timestamp") >= hour + HOUR - self._gap
        known = pl.concat([self._before, rows])
        registers = (
            known.filter(~near, self._is_value)
            .sort("timestamp")
            .unique(self._stream.device, keep="last")
        )
        self._before = pl.concat([registers, known.filter(near)])

    def begin(self, hours: Iterable[datetime], dropped: Iterable[datetime]) -> None:
        """Take in the hours before the first one that is verified, as much as those need."""
        gone, hours = set(dropped), sorted(hours)
        for hour in hours:
            if hour in gone:
                rows = self.read(hour, raw_dropped=True).expected
            else:
                far = hour + HOUR <= hours[-1] + HOUR - self._gap
                rows = self._distinct(hour, only_registers=far)
            self.move_on(hour, rows)

    def _distinct(self, hour: datetime, *, only_registers: bool) -> pl.DataFrame:
        """The distinct heartbeats of an hour; of all devices, or of those with register values."""
        raw = self._raw(hour)
        if only_registers:
            devices = raw.filter(self._is_value).select(pl.col(self._stream.device).unique())
            raw = raw.join(devices, on=self._stream.device, how="semi")
        return merge_heartbeats(self._stream, self._empty.lazy(), [raw]).collect()

    @property
    def _is_value(self) -> pl.Expr:
        return (pl.col("reading_type") == REGISTER) & pl.col(self._stream.energy).is_not_null()

    def _lost(self, history: pl.DataFrame, raw: pl.DataFrame) -> pl.DataFrame:
        """Heartbeats of the history of which raw has none, or fewer copies than were counted."""
        key = list(self._stream.key)
        received = raw.group_by(key).agg(received=pl.len().cast(pl.Int64))
        return (
            history.unique(key, maintain_order=True)
            .join(received, on=key, how="left", maintain_order="left")
            .filter(pl.col("received").fill_null(0) <= pl.col("duplicates"))
        )

    def _history(self, hour: datetime) -> pl.DataFrame:
        try:
            found = scan_history(self._lake, self._stream, hour, hour + HOUR)
        except TableMissing:
            return self._empty
        return found.sort(self._stream.key).collect()

    def _raw(self, hour: datetime) -> pl.LazyFrame:
        raw = self._lake.scan(self._lake.open(self._stream.raw_table))
        return raw.filter(in_hours(hour, hour + HOUR)).select(self._empty.columns[:-1])
