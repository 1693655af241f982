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


@dataclass(frozen=True)
class Stream:
    """One kind of heartbeat: its sender and its measurements.

    The identity of a heartbeat is `(device column, timestamp)`.
    """

    name: str
    device: str
    energy: str
    measurements: tuple[Column, ...]

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns of a heartbeat in the order of every table, without the partition."""
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
            Column(
                "received_at",
                TIMESTAMP,
                "time of receipt by the collector's clock, UTC; of two heartbeats with one "
                "identity the later received counts",
                nullable=False,
            ),
        )

    @cached_property
    def number_measurements(self) -> tuple[str, ...]:
        """Names of the measurements that are numbers."""
        return tuple(c.name for c in self.measurements if pa.types.is_float64(c.type))

    @cached_property
    def text_measurements(self) -> tuple[str, ...]:
        """Names of the measurements that are texts."""
        return tuple(c.name for c in self.measurements if not pa.types.is_float64(c.type))

    @property
    def key(self) -> tuple[str, str]:
        """The identity of a heartbeat."""
        return (self.device, "timestamp")

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """The Arrow schema of a heartbeat as it travels from the collector to the lake."""
        return pa.schema([column.field() for column in self.columns])

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
