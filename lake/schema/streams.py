"""The two streams of heartbeats, and the columns of their tables."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import pyarrow as pa

TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
INTERVAL: Final = "interval"
REGISTER: Final = "register"


@dataclass(frozen=True)
class Column:
    """A column of a lake table: Arrow type, and description with its unit."""

    name: str
    type: pa.DataType
    description: str
    nullable: bool = True

    def field(self) -> "pa.Field[pa.DataType]":
        """Return the Arrow field; the description travels as the Delta column comment."""
        return pa.field(self.name, self.type, self.nullable, {"comment": self.description})


# Every table of the lake is partitioned by the UTC date of the event time, and a raw table by the
# hour as well, so that an hour can be read, and dropped, without looking into a file.
DATE_PARTITION: Final = Column(
    "date", pa.date32(), "UTC date of the event time; partition", nullable=False
)
HOUR_PARTITION: Final = Column(
    "hour", pa.int32(), "UTC hour of the event time, 0-23; partition", nullable=False
)


INTERVAL_SECONDS: Final = Column(
    "interval_seconds",
    pa.float64(),
    "seconds before timestamp in which the energy flowed, as the device declares it; null: not "
    "declared",
)
IMPORTED_AT: Final = Column(
    "imported_at",
    TIMESTAMP,
    "start of the import that brought the heartbeat, UTC; null: it was posted",
)


@dataclass(frozen=True)
class Stream:
    """One kind of heartbeat: its sender and its measurements.

    The identity of a heartbeat is `key`: device, time, and the `part` of the device where it has
    parts that are measured on their own.
    """

    name: str
    device: str
    energy: str
    measurements: tuple[Column, ...]
    part: Column | None = None

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns of a heartbeat in the order of every table, without the partition."""
        return (*self.posted_columns, IMPORTED_AT)

    @cached_property
    def posted_columns(self) -> tuple[Column, ...]:
        """The columns of a heartbeat that was posted, from the collector to the outbox."""
        return (
            Column(self.device, pa.large_string(), f"id of the {self.name}", nullable=False),
            Column("timestamp", TIMESTAMP, "event time by the device's clock, UTC", nullable=False),
            *self.measurements,
            Column(
                "reading_type",
                pa.large_string(),
                f"'interval': {self.energy} is the energy since the previous heartbeat; "
                "'register': it is the state of a cumulative register",
                nullable=False,
            ),
            INTERVAL_SECONDS,
            *([] if self.part is None else [self.part]),
            Column(
                "received_at",
                TIMESTAMP,
                "time of receipt by the collector's clock, UTC; of the copies of a heartbeat with "
                "a known energy the last received counts",
                nullable=False,
            ),
        )

    @cached_property
    def number_measurements(self) -> tuple[str, ...]:
        """Names of the measurements that are numbers."""
        return tuple(c.name for c in self.measurements if pa.types.is_float64(c.type))

    @cached_property
    def number_columns(self) -> tuple[str, ...]:
        """Names of all columns that are numbers."""
        return tuple(c.name for c in self.columns if pa.types.is_float64(c.type))

    @cached_property
    def text_columns(self) -> tuple[str, ...]:
        """Names of the texts beside the device and the reading type; any may be null."""
        texts = (c.name for c in self.columns if pa.types.is_large_string(c.type))
        return tuple(name for name in texts if name not in {self.device, "reading_type"})

    @property
    def key(self) -> tuple[str, ...]:
        """The identity of a heartbeat; its part may be null, which equals null."""
        return (self.device, "timestamp", *([] if self.part is None else [self.part.name]))

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """The Arrow schema of a heartbeat as it travels from the collector to the lake."""
        return pa.schema([column.field() for column in self.columns])

    @property
    def channel(self) -> tuple[str, ...]:
        """The columns of what a series of readings belongs to: the device, or a part of it."""
        return tuple(name for name in self.key if name != "timestamp")

    @property
    def series(self) -> tuple[str, ...]:
        """The columns that tell the series of a reading: of a channel, intervals or a register."""
        return (self.device, "reading_type", *([] if self.part is None else [self.part.name]))

    def with_all_columns(self, rows: pa.Table) -> pa.Table:
        """Return `rows` with the columns of the stream; one that an older version left out is null.

        Raises pa.ArrowException where a value does not fit.
        """
        return pa.table(
            [
                rows[field.name] if field.name in rows.column_names else pa.nulls(len(rows))
                for field in self.arrow_schema
            ],
            names=self.arrow_schema.names,
        ).cast(self.arrow_schema)

    @property
    def raw_table(self) -> str:
        """Name of the append-only table of every heartbeat as it was received."""
        return f"raw_{self.name}_heartbeats"

    @property
    def history_table(self) -> str:
        """Name of the table of sorted, de-duplicated heartbeats."""
        return f"{self.name}_telemetry_history"


METER: Final = Stream(
    name="meter",
    device="meter_id",
    energy="kwh_consumed_ac",
    measurements=(
        Column("kwh_consumed_ac", pa.float64(), "AC energy drawn from the grid, kWh"),
        Column("voltage", pa.float64(), "AC voltage, volt"),
    ),
    part=Column(
        "phase",
        pa.large_string(),
        "phase that this heartbeat measures, such as L1; those of one moment add up; null: all",
    ),
)

VEHICLE: Final = Stream(
    name="vehicle",
    device="vehicle_id",
    energy="kwh_delivered_dc",
    measurements=(
        Column("kwh_delivered_dc", pa.float64(), "DC energy delivered to the battery, kWh"),
        Column("soc", pa.float64(), "state of charge, percent"),
        Column("battery_temp", pa.float64(), "battery temperature, degrees Celsius"),
        Column("meter_id", pa.large_string(), "the meter the vehicle says it charges from"),
    ),
)

STREAMS: Final = {METER.name: METER, VEHICLE.name: VEHICLE}
