"""The ledger of what was sent and what was acknowledged.

Each heartbeat carries a serial number in its energy field that no other one has, and all its
other fields follow from that number: whatever lies in a table can be told from what was sent, and
a second copy from a second heartbeat. A heartbeat can be sent more than once; every sending is an
entry of its own.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import polars as pl

from lake import METER, Stream

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SERIALS_A_KWH: Final = 1e6
_METERS_NAMED: Final = 7

Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class Heartbeat:
    """One heartbeat; its identity is stream, device and event time (microseconds since 1970)."""

    serial: int
    stream: Stream
    device: str
    micros: int

    @property
    def columns(self) -> dict[str, Any]:
        """Row of the tables for it, but for the time of receipt."""
        energy, kind = self.serial / _SERIALS_A_KWH, ("interval", "register")[self.serial % 5 == 0]
        common = {
            self.stream.device: self.device,
            "timestamp": _EPOCH + timedelta(microseconds=self.micros),
            self.stream.energy: energy,
            "reading_type": kind,
        }
        if self.stream is METER:
            return common | {"voltage": 200.0 + self.serial % 50}
        names = self.serial % 4 == 0
        return common | {
            "soc": float(self.serial % 101),
            "battery_temp": None if self.serial % 3 == 0 else 20.5,
            "meter_id": f"M{self.serial % _METERS_NAMED}" if names else None,
        }

    @property
    def body(self) -> dict[str, Any]:
        """The JSON that a device sends; what it doesn't measure is left out."""
        row = self.columns
        body = {camel(name): value for name, value in row.items() if value is not None}
        return body | {"timestamp": row["timestamp"].isoformat()}


@dataclass(frozen=True)
class Sending:
    """One request's try to deliver a heartbeat; times are those of `time.monotonic`.

    Without an acknowledgement its outcome is unknown: it may have been stored, and if the request
    was left alone it may still be.
    """

    serial: int
    started: float
    ended: float
    acknowledged: bool


class Ledger:
    """Everything the clients did; they write to it from several threads."""

    def __init__(self) -> None:
        self.heartbeats: list[Heartbeat] = []
        self.sendings: list[Sending] = []
        self._serials = itertools.count(1)

    def heartbeat(self, stream: Stream, device: str, micros: int) -> Heartbeat:
        """A new heartbeat, or, for an identity that was used before, a correction of it."""
        made = Heartbeat(next(self._serials), stream, device, micros)
        self.heartbeats.append(made)
        return made

    def send(self, heartbeats: Sequence[Heartbeat], post: Callable[[], bool]) -> bool:
        """Call `post`, which returns True if all were acknowledged, and note it."""
        started, acknowledged = time.monotonic(), False
        try:
            acknowledged = post()
        finally:
            ended = time.monotonic()
            self.sendings += [
                Sending(one.serial, started, ended, acknowledged) for one in heartbeats
            ]
        return acknowledged

    def sent(self, stream: Stream) -> pl.DataFrame:
        """All heartbeats of a stream, as the raw table would have them, and their serials."""
        rows: Iterable[Heartbeat] = (one for one in self.heartbeats if one.stream is stream)
        schema = pl.DataFrame(stream.arrow_schema.empty_table()).schema
        return pl.DataFrame(
            [one.columns | {"serial": one.serial} for one in rows],
            schema={"serial": pl.Int64, **schema},
        ).drop("received_at")

    def outcomes(self, database_faults: Sequence[tuple[float, float]]) -> pl.DataFrame:
        """Outcome of each serial that was sent.

        - `times_sent`, `times_acknowledged`
        - `at_risk`: sendings during which the database failed. The collector repeats a commit
          whose connection broke before the answer came, with the same time of receipt.
        - `acknowledged_from`: start of its last acknowledged sending, null if there is none
        - `settled_by`: from when on it can't arrive any more; infinity if an outcome is unknown
        """
        sendings = pl.DataFrame(
            [(s.serial, s.started, s.ended, s.acknowledged) for s in self.sendings],
            schema={
                "serial": pl.Int64,
                "started": pl.Float64,
                "ended": pl.Float64,
                "acknowledged": pl.Boolean,
            },
            orient="row",
        ).with_columns(
            settled=pl.when("acknowledged").then("ended").otherwise(float("inf")),
        )
        at_risk = [
            (pl.col("started") <= end) & (pl.col("settled") >= start)
            for start, end in database_faults
        ]
        return sendings.group_by("serial").agg(
            times_sent=pl.len().cast(pl.Int64),
            times_acknowledged=pl.col("acknowledged").sum().cast(pl.Int64),
            at_risk=pl.any_horizontal(pl.lit(value=False), *at_risk).sum().cast(pl.Int64),
            acknowledged_from=pl.col("started").filter("acknowledged").max(),
            settled_by=pl.col("settled").max(),
        )


def serial_of(stream: Stream) -> pl.Expr:
    """The serial number that a row of the stream carries."""
    return (pl.col(stream.energy) * _SERIALS_A_KWH).round().cast(pl.Int64).alias("serial")


def camel(name: str) -> str:
    """The name of a column as JSON has it."""
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
