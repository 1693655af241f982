"""Heartbeats of one stream as columns, and the validation of whole columns."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final, Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic.alias_generators import to_camel

from lake import INTERVAL, REGISTER, Stream
from lake.recordings import MAX_INTERVAL_KWH
from lake.schema import TIMESTAMP
from warehouse_sql.binary_parameters import float8_array, text_array, timestamp_array

Mask = npt.NDArray[np.bool_]
Micros = npt.NDArray[np.int64]  # microseconds since 1970-01-01T00:00:00Z
Numbers = npt.NDArray[np.float64]

_EARLIEST: Final = 946_684_800_000_000  # 2000-01-01T00:00:00Z
NULL_TIME: Final = -(2**63)
"""Stands for a missing or invalid time."""
_ROWS_A_CAST: Final = 1_000
_FEW: Final = 32  # for fewer values Python is faster than what it takes to call Arrow
_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
TOO_MANY_NEW_DEVICES: Final = "too_many_new_devices"
"""The code of a rule that a later attempt may keep."""


class NewDeviceLimit(Protocol):
    """The number of devices, never heard before, that a caller may bring."""

    @property
    def per_hour(self) -> int: ...

    def knows_all(self, stream: str, devices: Iterable[str]) -> bool:
        """Return whether none of these is new."""
        ...

    def refuse_excess(self, stream: str, devices: Sequence[str]) -> set[str]:
        """Return the new ones beyond the bound; those within are known from now on."""
        ...

    def retry_after(self, devices: int) -> int:
        """Seconds until so many more are taken, or as many as ever are at once."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on the content of a request.

    `newest` is the latest event time that is believed, in microseconds since 1970. Where there is
    a `device_prefix`, the sender may write only for devices whose id begins so, and where there are
    `new_devices`, bring only so many of them. `refuse_unknown` refuses records with fields that
    nobody knows, which otherwise are left out.
    """

    records: int
    newest: int
    device_prefix: str | None = None
    new_devices: NewDeviceLimit | None = None
    refuse_unknown: bool = False

    @classmethod
    def from_clock(
        cls,
        now: datetime,
        tolerance_seconds: float,
        records: int,
        device_prefix: str | None = None,
        new_devices: NewDeviceLimit | None = None,
        *,
        refuse_unknown: bool = False,
    ) -> "Limits":
        """The limits at this moment of the collector's clock."""
        newest = int((now.timestamp() + tolerance_seconds) * 1e6)
        return cls(records, newest, device_prefix, new_devices, refuse_unknown)


@dataclass(frozen=True, slots=True)
class HeartbeatBatch:
    """Heartbeats of one stream, column by column, in order of arrival.

    `texts` holds the device, the reading type and the stream's other texts; `numbers` the
    numbers, NaN where one was not sent; `received` is None until the receipt is stamped.
    Lists and NumPy arrays, because most requests bring one heartbeat: the making of an Arrow table
    for it would cost more than all that is done with it.
    """

    stream: Stream
    texts: Mapping[str, list[Any]]
    times: Micros
    numbers: Mapping[str, Numbers]
    received: Micros | None = None

    @classmethod
    def from_records(cls, stream: Stream, records: Sequence[Any]) -> "HeartbeatBatch":
        """Build a batch of objects with the columns as attributes; an invalid time is NULL_TIME."""
        return cls(
            stream,
            {
                stream.device: _values(records, stream.device),
                **{name: _values(records, name) for name in stream.text_columns},
                "reading_type": [record.reading_type or INTERVAL for record in records],
            },
            parse_timestamps([record.timestamp for record in records]),
            {name: _numbers(_values(records, name)) for name in stream.number_columns},
        )

    @classmethod
    def from_arrow(cls, stream: Stream, rows: pa.Table) -> "HeartbeatBatch":
        """Build a batch of a table with the posted columns, `received_at` or not."""
        numbers = stream.number_columns
        times = {
            name: rows[name].combine_chunks().view(pa.int64()).to_numpy()
            for name in ("timestamp", "received_at")
            if name in rows.column_names
        }
        return cls(
            stream,
            {
                name: rows[name].to_pylist()
                for name in (stream.device, *stream.text_columns, "reading_type")
            },
            times["timestamp"],
            {name: rows[name].to_numpy() for name in numbers},
            times.get("received_at"),
        )

    def __len__(self) -> int:
        return len(self.times)

    @property
    def devices(self) -> list[str]:
        """Their ids."""
        return self.texts[self.stream.device]

    def with_receipt_times(self, received: Micros) -> "HeartbeatBatch":
        """The same with their times of receipt."""
        return replace(self, received=received)

    def take(self, rows: npt.NDArray[np.intp]) -> "HeartbeatBatch":
        """Some of them, in the order of `rows`."""
        at = rows.tolist()
        return HeartbeatBatch(
            self.stream,
            {name: [values[row] for row in at] for name, values in self.texts.items()},
            self.times[rows],
            {name: values[rows] for name, values in self.numbers.items()},
            None if self.received is None else self.received[rows],
        )

    def slice(self, start: int, stop: int) -> "HeartbeatBatch":
        """Those from `start` up to `stop`."""
        return HeartbeatBatch(
            self.stream,
            {name: values[start:stop] for name, values in self.texts.items()},
            self.times[start:stop],
            {name: values[start:stop] for name, values in self.numbers.items()},
            None if self.received is None else self.received[start:stop],
        )

    def parameters(self) -> list[bytes]:
        """Every column in the stream's order, as PostgreSQL arrays in binary."""
        return [self._array(column.name) for column in self.stream.posted_columns]

    def to_arrow(self) -> pa.Table:
        """A table with the posted columns; without `received_at` before the receipt."""
        fields = [
            column.field()
            for column in self.stream.posted_columns
            if column.name != "received_at" or self.received is not None
        ]
        return pa.Table.from_arrays(
            [self._arrow(field.name, field.type) for field in fields], schema=pa.schema(fields)
        )

    def _array(self, column: str) -> bytes:
        if column in self.texts:
            return text_array(self.texts[column])
        if column in self.numbers:
            return float8_array(self.numbers[column])
        return timestamp_array(self._moments(column))

    def _arrow(self, column: str, kind: pa.DataType) -> Any:
        if column in self.texts:
            return pa.array(self.texts[column], kind)
        if column in self.numbers:
            return pa.array(self.numbers[column], kind, from_pandas=True)  # NaN becomes null
        return pa.array(self._moments(column)).view(TIMESTAMP)

    def _moments(self, column: str) -> Micros:
        if column == "timestamp":
            return self.times
        assert self.received is not None, "rows are stored only after their receipt is stamped"
        return self.received


def concat(parts: Sequence[HeartbeatBatch]) -> HeartbeatBatch:
    """Heartbeats of one stream that are not stamped yet, one part after the other; at least one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    return HeartbeatBatch(
        first.stream,
        {name: [v for part in parts for v in part.texts[name]] for name in first.texts},
        np.concatenate([part.times for part in parts]),
        {name: np.concatenate([part.numbers[name] for part in parts]) for name in first.numbers},
    )


def rule_violations(
    rows: HeartbeatBatch, limits: Limits
) -> Iterator[tuple[Mask, str | None, str, str]]:
    """For each rule the rows that break it, the column it speaks of, a code and a text."""
    broken = np.zeros(len(rows), np.bool_)
    for rule in _rules_of_rows(rows, limits):
        broken |= rule[0]
        yield rule
    if (bound := limits.new_devices) is not None:
        # Only what is taken otherwise makes a device known.
        devices = [device for device, wrong in zip(rows.devices, broken, strict=True) if not wrong]
        refused = bound.refuse_excess(rows.stream.name, devices)
        beyond = np.array([device in refused for device in rows.devices]) & ~broken
        reason = (
            f"is a device that was never heard, and of these an API key brings {bound.per_hour:,} "
            "in an hour; send it again later"
        )
        yield beyond, rows.stream.device, TOO_MANY_NEW_DEVICES, reason


def _rules_of_rows(
    rows: HeartbeatBatch, limits: Limits
) -> Iterator[tuple[Mask, str | None, str, str]]:
    missing = rows.times == NULL_TIME
    yield missing, "timestamp", "bad_time", "is not a time that exists"
    early = (rows.times < _EARLIEST) & ~missing
    yield early, "timestamp", "too_old", "is before the year 2000"
    late = rows.times > limits.newest
    yield late, "timestamp", "in_the_future", "is too far ahead of the collector's clock"
    energy = rows.stream.energy
    too_much = rows.numbers[energy] > MAX_INTERVAL_KWH
    if too_much.any():
        too_much &= np.array([kind != REGISTER for kind in rows.texts["reading_type"]])
    reason = f"is more than {MAX_INTERVAL_KWH:,.0f} kWh in one interval; is it a register, or Wh?"
    yield too_much, energy, "out_of_range", reason
    nothing = np.ones(len(rows), np.bool_)
    for name in rows.stream.number_measurements:
        nothing &= np.isnan(rows.numbers[name])
    wanted = ", ".join(to_camel(name) for name in rows.stream.number_measurements)
    yield nothing, None, "no_measurement", f"needs at least one of {wanted}"
    if prefix := limits.device_prefix:
        foreign = np.array([not device.startswith(prefix) for device in rows.devices])
        reason = f"is not a device of this API key, whose devices begin with {prefix}"
        yield foreign, rows.stream.device, "foreign_device", reason


def invalid_mask(rows: HeartbeatBatch, limits: Limits) -> Mask:
    """The rows that break any rule."""
    broken = np.zeros(len(rows), np.bool_)
    if not _all_hold(rows, limits):
        for wrong, _, _, _ in rule_violations(rows, limits):
            broken |= wrong
    return broken


def parse_timestamps(texts: Sequence[str]) -> Micros:
    """Parse ISO 8601 texts as microseconds since 1970; what is no time becomes NULL_TIME."""
    distinct = set(texts)
    if len(distinct) < _FEW:  # as of devices that report on the minute
        micros = {text: _micros(text) for text in distinct}
        return np.array([micros[text] for text in texts], np.int64)
    return parse_timestamp_array(pa.array(texts, pa.large_string()))


def parse_timestamp_array(texts: Any) -> Micros:
    """The same of a large_string array, in which a null is no time either."""
    try:
        found = texts.cast(TIMESTAMP)
    except pa.ArrowInvalid:
        cut = pc.replace_substring_regex(texts, r"(\.[0-9]{6})[0-9]+", r"\1")
        parts = [cut.slice(row, _ROWS_A_CAST) for row in range(0, len(cut), _ROWS_A_CAST)]
        found = pa.concat_arrays([_cast(part) for part in parts])
    numbers = found.view(pa.int64())
    if numbers.null_count:
        numbers = numbers.fill_null(NULL_TIME)
    return cast(Micros, numbers.to_numpy())


def _values(records: Iterable[Any], name: str) -> list[Any]:
    return list(map(attrgetter(name), records))


def _numbers(values: list[float | None]) -> Numbers:
    """The numbers, NaN for None; a field that nobody sends costs next to nothing."""
    if values.count(None) == len(values):
        return np.full(len(values), np.nan)
    return np.array(values, np.float64)


def _all_hold(rows: HeartbeatBatch, limits: Limits) -> bool:
    """Return whether no row breaks a rule, in fewer steps than it takes to say which does.

    False means only that it takes those steps.
    """
    measured = ~np.isnan([rows.numbers[name] for name in rows.stream.number_measurements])
    return bool(
        rows.times.min() >= _EARLIEST
        and rows.times.max() <= limits.newest
        and not (rows.numbers[rows.stream.energy] > MAX_INTERVAL_KWH).any()
        and measured.any(axis=0).all()
        and not limits.device_prefix
        and (
            limits.new_devices is None
            or limits.new_devices.knows_all(rows.stream.name, rows.devices)
        )
    )


def _micros(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)  # which cuts to microseconds
    except ValueError:
        return NULL_TIME
    return (moment - _1970) // _MICROSECOND


def _cast(texts: Any) -> Any:
    """One cast for all, or for each where one of them is no time."""
    try:
        return texts.cast(TIMESTAMP)
    except pa.ArrowInvalid:
        return pa.concat_arrays([_instant(texts.slice(row, 1)) for row in range(len(texts))])


def _instant(text: Any) -> Any:
    try:
        return text.cast(TIMESTAMP)
    except pa.ArrowInvalid:
        return pa.nulls(1, TIMESTAMP)
