"""Heartbeats of one stream, hour after hour, as they follow from the raw table alone."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import polars as pl
import psycopg

from lake import HOUR, REGISTER, EnergySettings, LakeError, Stream
from lake.delta import READ_ERRORS
from lake.history import SequentialHistoryReader, merge_heartbeats, no_heartbeats, series_ends
from pipelines.compute.devices import days_with_energy, expected_devices
from pipelines.ledger import dirty_hours
from pipelines.verify.files import CheckedTables

_EVER: Final = datetime.max.replace(tzinfo=UTC) - timedelta(days=3)


@dataclass(frozen=True)
class StreamHour:
    """Hour of one stream: its raw rows, the history that follows from them, and the one there is.

    `expected` and `history` have the columns of the history, sorted by device and time.
    `raw_rows` is null where raw heartbeats of the hour were dropped after their retention, or can't
    be read. Then, and where raw lacks heartbeats that the history has (`lost`), the history counts
    as well. `raw_whole` and `history_whole` tell whether all their files can be read.
    """

    stream: Stream
    raw_rows: int | None
    lost: pl.DataFrame
    last_arrival: datetime | None
    expected: pl.DataFrame
    history: pl.DataFrame
    raw_whole: bool
    history_whole: bool

    @property
    def is_damaged(self) -> bool:
        """True if a file can't be read."""
        return not (self.raw_whole and self.history_whole)

    @property
    def is_known(self) -> bool:
        """True if the expected heartbeats are known, from raw or from the history."""
        return self.raw_rows is not None or self.history_whole


class SequentialRawReader:
    """Reader of hours in ascending order that keeps what later hours need of those before.

    What lies within the look-back before an hour is read from raw, once for all hours.
    """

    def __init__(self, tables: CheckedTables, stream: Stream, settings: EnergySettings) -> None:
        self._tables, self._stream = tables, stream
        self._gap = timedelta(seconds=settings.largest_gap_seconds)
        self._look_back = timedelta(hours=settings.register_lookback_hours)
        self._empty = no_heartbeats(stream)
        self._before = self._empty
        self._settings = settings
        self._reader: SequentialHistoryReader | None = None
        self._reader_at: datetime | None = None
        self._lacks_context = False
        self._connection: psycopg.Connection | None = None
        self._first: datetime | None = None  # of the hours that were read
        self._unknown: set[datetime] = set()

    @property
    def has_registers(self) -> bool:
        """True if a register was read that a later reading may be counted from."""
        return not self._before.filter(self._is_value).is_empty()

    def depends_on_unknown(self, hour: datetime) -> bool:
        """True if the energy of an hour may be counted from or with heartbeats that are unknown."""
        return self._lacks_context or any(
            hour - self._look_back <= before <= hour for before in self._unknown
        )

    def read(self, hour: datetime, *, raw_dropped: bool) -> StreamHour:
        """Read an hour as it is now; TableMissing if there is no raw table."""
        raw, history = (f(self._stream, hour) for f in (self._tables.raw, self._tables.history))
        is_all = raw.whole and not raw_dropped
        lost = self._lost(history.rows, raw.rows)
        if not is_all:
            lost = lost.clear()
        known = self._empty if is_all and lost.is_empty() else history.rows
        arrivals = [frame["received_at"].max() for frame in (raw.rows, known) if frame.height]
        found = StreamHour(
            stream=self._stream,
            raw_rows=raw.rows.height if is_all else None,
            lost=lost,
            last_arrival=max((at for at in arrivals if isinstance(at, datetime)), default=None),
            expected=merge_heartbeats(self._stream, known.lazy(), [raw.rows.lazy()]).collect(),
            history=history.rows,
            raw_whole=raw.whole,
            history_whole=history.whole,
        )
        if not found.is_known:
            self._unknown.add(hour)
        return found

    def with_context(
        self, hour: datetime, rows: pl.DataFrame, connection: psycopg.Connection
    ) -> pl.DataFrame:
        """Return the heartbeats of an hour with those that it is computed with.

        Those before it and of the hour after it as they follow from the raw table, as far back as
        that was read; what is older or later as a computation would find it now.
        """
        if self._reader is None or self._reader_at == hour:  # once more, with what is there now
            self._reader = SequentialHistoryReader(
                self._tables.lake,
                self._stream,
                self._settings,
                _EVER,
                waiting=dirty_hours(connection, self._stream),
                days=self._days_with_energy,
            )
        self._connection = connection
        self._reader_at = hour
        expected = expected_devices(connection, self._stream, hour + HOUR)
        try:
            around = self._reader.read(hour, hour + HOUR, expected, rows)
            self._lacks_context = bool(self._reader.lost)
        except (LakeError, *READ_ERRORS):
            self._reader, around = None, rows.clear()  # what is damaged is told by itself
            self._lacks_context = False
        timestamp = pl.col("timestamp")
        older = around.filter(timestamp < min(self._first or hour, hour))
        before = series_ends(pl.concat([older, self._before]), self._stream).last
        near = self._before.filter(timestamp >= hour - self._gap)
        others = near.join(before, on=self._stream.key, how="anti", nulls_equal=True)
        later = self._with_raw(hour + HOUR, around.filter(timestamp >= hour + HOUR))
        return pl.concat([pl.concat([before, others]).sort(self._stream.key), rows, later])

    def read_more(self, hour: datetime, wanted: pl.DataFrame) -> pl.DataFrame:
        """Return what `SequentialHistoryReader.read_more` does, as the history has it."""
        if self._reader is None:
            return self._empty
        try:
            return self._reader.read_more(hour, wanted)
        except (LakeError, *READ_ERRORS):
            self._reader, self._lacks_context = None, True
            return self._empty

    def _with_raw(self, hour: datetime, rows: pl.DataFrame) -> pl.DataFrame:
        """The first readings from an hour on, of which those of this hour follow from raw.

        Else a history that is damaged there would be blamed on the hour before.
        """
        received = self._tables.raw(self._stream, hour)
        if not received.whole or received.rows.is_empty():
            return rows
        told = merge_heartbeats(self._stream, self._empty.lazy(), [received.rows.lazy()]).collect()
        others = rows.join(
            told, on=self._stream.key, how="anti", nulls_equal=True
        )  # raw may have been dropped
        return series_ends(pl.concat([told, others]), self._stream).first

    def _days_with_energy(self, devices: Collection[str]) -> dict[str, list[tuple[date, date]]]:
        assert self._connection is not None, "the reader is asked in with_context alone"
        return days_with_energy(self._connection, self._stream, devices)

    def advance(self, hour: datetime, rows: pl.DataFrame) -> None:
        """Keep what later hours need of this hour and of those before."""
        near = pl.col("timestamp") >= hour + HOUR - self._gap
        known = pl.concat([self._before, rows])
        self._first = min(self._first or hour, hour)
        last = series_ends(known, self._stream).last
        others = known.filter(near).join(last, on=self._stream.key, how="anti", nulls_equal=True)
        self._before = pl.concat([last, others])

    def load_context(self, hours: Iterable[datetime], dropped: Iterable[datetime]) -> None:
        """Read what is needed of the hours before the first one that is verified."""
        gone, hours = set(dropped), sorted(hours)
        for hour in hours:
            raw = self._tables.raw(self._stream, hour)
            if hour in gone or not raw.whole:
                rows = self.read(hour, raw_dropped=hour in gone).expected
            else:
                far = hour + HOUR <= hours[-1] + HOUR - self._gap
                rows = self._distinct(raw.rows.lazy(), only_registers=far)
            self.advance(hour, rows)

    def _distinct(self, raw: pl.LazyFrame, *, only_registers: bool) -> pl.DataFrame:
        """Distinct heartbeats of an hour, of all devices or of those with register values."""
        if only_registers:
            devices = raw.filter(self._is_value).select(pl.col(self._stream.device).unique())
            raw = raw.join(devices, on=self._stream.device, how="semi")
        return merge_heartbeats(self._stream, self._empty.lazy(), [raw]).collect()

    @property
    def _is_value(self) -> pl.Expr:
        return (pl.col("reading_type") == REGISTER) & pl.col(self._stream.energy).is_not_null()

    def _lost(self, history: pl.DataFrame, raw: pl.DataFrame) -> pl.DataFrame:
        """Heartbeats of the history that raw lacks, or has fewer copies of than were counted."""
        key = list(self._stream.key)
        received = raw.group_by(key).agg(received=pl.len().cast(pl.Int64))
        return (
            history.unique(key, maintain_order=True)
            .join(received, on=key, how="left", maintain_order="left", nulls_equal=True)
            .filter(pl.col("received").fill_null(0) <= pl.col("duplicates"))
        )
