"""Heartbeats of the right types as Arrow columns, and the rules that whole columns are held to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import FailFast, TypeAdapter

from ingestion_api.heartbeats import MAX_INTERVAL_KWH, MeterHeartbeat, VehicleHeartbeat
from lake import INTERVAL, METER, REGISTER, VEHICLE, Stream
from lake.streams import TIMESTAMP

Mask = npt.NDArray[np.bool_]
_EARLIEST: Final = 946_684_800_000_000  # 2000-01-01T00:00:00Z


@dataclass(frozen=True)
class Contract:
    """How the JSON of a stream is read: Pydantic's checks, and the columns its fields become."""

    stream: Stream
    one: TypeAdapter[Any]
    many: TypeAdapter[Any]
    every: TypeAdapter[Any]
    fields: Mapping[str, str]  # JSON field by column
    struct: pa.StructType
    schema: pa.Schema  # of the rows, without `received_at`

    @classmethod
    def of(cls, stream: Stream, heartbeat: Any) -> "Contract":
        columns = [column for column in stream.columns if column.name != "received_at"]
        fields = {column.name: _camel_case(column.name) for column in columns}
        struct = pa.struct(
            [
                # Times are parsed as a whole column, which is far faster than one by one.
                (fields[c.name], pa.large_string() if c.name == "timestamp" else c.type)
                for c in columns
            ]
        )
        return cls(
            stream=stream,
            one=TypeAdapter(heartbeat),
            many=TypeAdapter(Annotated[list[heartbeat], FailFast()]),
            every=TypeAdapter(list[heartbeat]),
            fields=fields,
            struct=struct,
            schema=pa.schema([column.field() for column in columns]),
        )

    def columns(self, records: list[Any]) -> dict[str, Any]:
        """Checked records as one array a column; a time that does not exist is null."""
        structs: Any = pa.array(records, self.struct)
        columns = dict(zip(self.fields, structs.flatten(), strict=True))
        columns["timestamp"] = _instants(columns["timestamp"])
        columns["reading_type"] = columns["reading_type"].fill_null(INTERVAL)
        return columns

    def broken_rules(
        self, columns: Mapping[str, Any], newest: int
    ) -> Iterator[tuple[Mask, str | None, str]]:
        """For each rule the rows that break it, the field it speaks of, and its text.

        `newest` is the latest time that is believed, in microseconds since 1970. In NumPy, which
        costs less than Arrow for a single heartbeat. Numbers that were not sent are NaN here; NaN
        itself has been refused before.
        """
        times = columns["timestamp"]
        missing = times.is_null().to_numpy(zero_copy_only=False)
        yield missing, "timestamp", "is not a time that exists"
        micros = times.view(pa.int64()).to_numpy(zero_copy_only=False)
        yield (micros < _EARLIEST) & ~missing, "timestamp", "is before the year 2000"
        too_new = (micros > newest) & ~missing
        yield too_new, "timestamp", "is too far ahead of the collector's clock"
        numbers = {
            column.name: columns[column.name].to_numpy(zero_copy_only=False)
            for column in self.stream.measurements
            if pa.types.is_float64(column.type)
        }
        too_much = numbers[self.stream.energy] > MAX_INTERVAL_KWH
        if too_much.any():
            is_register = pc.equal(columns["reading_type"], pa.scalar(REGISTER, pa.large_string()))
            too_much &= ~is_register.to_numpy(zero_copy_only=False)
        reason = f"is more than {MAX_INTERVAL_KWH:,.0f} kWh in one interval; is it a register?"
        yield too_much, self.fields[self.stream.energy], reason
        nothing = np.logical_and.reduce([np.isnan(number) for number in numbers.values()])
        wanted = ", ".join(self.fields[name] for name in numbers)
        yield nothing, None, f"needs at least one of {wanted}"


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _instants(texts: Any) -> Any:
    """Times of ISO 8601 texts, cut to microseconds; null where there is no such time."""
    try:
        return texts.cast(TIMESTAMP)
    except pa.ArrowInvalid:
        cut = pc.replace_substring_regex(texts, r"(\.[0-9]{6})[0-9]+", r"\1")
        return pa.concat_arrays([_instant(cut.slice(row, 1)) for row in range(len(cut))])


def _instant(text: Any) -> Any:
    try:
        return text.cast(TIMESTAMP)
    except pa.ArrowInvalid:
        return pa.nulls(1, TIMESTAMP)


CONTRACTS: Final = {
    METER.name: Contract.of(METER, MeterHeartbeat),
    VEHICLE.name: Contract.of(VEHICLE, VehicleHeartbeat),
}
