"""Lake of some days of a fleet, thinned where no request of a day looks.

Meters and as many vehicles with a heartbeat a minute, 10,000 of each for 30 days unless it is told
otherwise. Whole, with every row of every device,
and so with the row groups and pages of the real thing: the files of 28 compacted hours, and the
hour after them as 60 flushes left it, which waits for its compaction. Thinned to the rows of 50
devices: the hour files of the two days before and the file of each of the 27 days before those. Of
them a window of a day needs only what their log entries say, and those are the real ones. All days
have the heartbeats of one real hour, at other times; registers go on, and so does each device: a
series that begins lately would be looked for in all of the history.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl
import psycopg
from deltalake.transaction import AddAction

from benchmarks.full_fleet import FullFleet
from benchmarks.lake_fill import FILES_AN_HOUR
from lake import HOUR, REGISTER, STREAMS, VEHICLE, Lake, Stream, read_delivered_horizon
from lake.delta.parquet_files import FAST, SMALL, write_data_file
from lake.history.deduplication import merge_heartbeats, no_heartbeats
from lake.schema.history import RECEIPT_DELAY, encode_history, history_table
from lake.schema.streams import DATE_PARTITION
from tests.harness.raw_table import append_from
from warehouse_sql.named_queries import query

_WHOLE_HOURS: Final = 28
_HOUR_FILES_HOURS: Final = 72  # until a day is archived
FEWEST_DAYS: Final = _HOUR_FILES_HOURS // 24
_KEPT_OF_THINNED: Final = 50
_DIGITS: Final = 5  # of the ids, as in benchmarks.fleet


class FleetLake:
    """Fills a lake up to an hour, which is the newest that has ended."""

    def __init__(self, hour: datetime, vehicles: int, days: int) -> None:
        self.hour, self.days = hour, days
        fleet = FullFleet(vehicles)
        self._received = {s.name: _renamed(fleet.hour(s, hour), s) for s in STREAMS.values()}
        for stream, rows in self._received.items():
            assert rows.height >= vehicles, f"a whole fleet of {stream}s"
        self._merged = {s.name: _merged(self._received[s.name], s) for s in STREAMS.values()}

    def fill_one_day(self, folder: Path) -> None:
        """Fill the whole hours, and the one that waits."""
        lake = Lake(str(folder))
        lake.create_tables()
        for stream in STREAMS.values():
            received = self._received[stream.name]
            for flush in received.iter_slices(-(-received.height // FILES_AN_HOUR)):
                before = read_delivered_horizon(lake, stream, "benchmark").horizon
                append_from(lake, stream, flush.to_arrow(), "benchmark", before + 1, before)
            self._add(lake, stream, self._hours(lake, stream, 1, _WHOLE_HOURS, whole=True))

    def fill_older_days(self, folder: Path) -> None:
        """Fill the days before."""
        lake = Lake(str(folder))
        for stream in STREAMS.values():
            hours = self._hours(lake, stream, _WHOLE_HOURS + 1, _HOUR_FILES_HOURS, whole=False)
            self._add(lake, stream, [*hours, *self._older_days(lake, stream)])

    def device_ids(self, stream: Stream) -> list[str]:
        """Devices that were heard, in order."""
        ids: list[str] = self._merged[stream.name][stream.device].unique().sort().to_list()
        return ids

    def named_pairs(self) -> pl.DataFrame:
        """vehicle_id and meter_id of each pair that a heartbeat names."""
        named = self._merged[VEHICLE.name].select("vehicle_id", "meter_id")
        return named.filter(pl.col("meter_id").is_not_null()).unique().sort("vehicle_id")

    def meters_of(self, vehicles: Sequence[str]) -> pl.DataFrame:
        """vehicle_id and meter_id: the meter that a vehicle names, or else that of its number."""
        return (
            pl.DataFrame({"vehicle_id": vehicles})
            .join(self.named_pairs(), on="vehicle_id", how="left", maintain_order="left")
            .with_columns(
                pl.col("meter_id").fill_null("METER" + pl.col("vehicle_id").str.tail(_DIGITS))
            )
        )

    def arrivals(self, stream: Stream, devices: pl.Series, hours_ago: int) -> pl.DataFrame:
        """Heartbeats of devices so many hours before the newest hour, in the order of receipt."""
        rows = self._merged[stream.name]
        rows = rows.filter(pl.col(stream.device).is_in(devices.implode()))
        received = pl.col("timestamp") + pl.duration(microseconds=RECEIPT_DELAY.name)
        return _earlier(rows, stream, hours_ago * HOUR).sort(received)

    def newest(self, stream: Stream, at: datetime) -> list[dict[str, Any]]:
        """A heartbeat of each device at this time as it is posted: of the kind that it sends."""
        rows = self._received[stream.name].group_by(stream.device, maintain_order=True).last()
        names = [column.name for column in stream.columns if column.name != "received_at"]
        rows = rows.select(names).with_columns(timestamp=pl.lit(at.isoformat()))
        return [
            {_camel_case(name): value for name, value in row.items() if value is not None}
            for row in rows.iter_rows(named=True)
        ]

    def energy_of(self, stream: Stream, device: str) -> float | None:
        """The plain sum of a device's heartbeats in an hour; None if it sends a register."""
        rows = self._merged[stream.name].filter(pl.col(stream.device) == device)
        if (rows["reading_type"] == REGISTER).any():
            return None
        return float(rows[stream.energy].sum())

    def _hours(
        self, lake: Lake, stream: Stream, first: int, last: int, *, whole: bool
    ) -> list[AddAction]:
        return [
            self._file(lake, stream, [hours_ago * HOUR], FAST, whole=whole)
            for hours_ago in range(first, last + 1)
        ]

    def _older_days(self, lake: Lake, stream: Stream) -> list[AddAction]:
        first = self.hour - _HOUR_FILES_HOURS * HOUR
        midnight = first.replace(hour=0)
        files = []
        for days in range(1, self.days - FEWEST_DAYS + 1):
            start = midnight - timedelta(days=days)
            hours = [self.hour - start - n * HOUR for n in range(24)]
            files.append(self._file(lake, stream, hours, SMALL, whole=False))
        return files

    def _file(
        self, lake: Lake, stream: Stream, ago: list[timedelta], level: int, *, whole: bool
    ) -> AddAction:
        """A file with the hours so long before the newest one, all of one day."""
        spec, rows = history_table(stream), self._merged[stream.name]
        if not whole:
            devices = rows[stream.device].unique().sort()
            step = devices.len() // (_KEPT_OF_THINNED - 1)
            ends = pl.concat([devices.gather_every(step), devices.tail(1)])
            rows = rows.filter(pl.col(stream.device).is_in(ends.to_list()))
        shifted = pl.concat([_earlier(rows, stream, by) for by in ago]).sort(stream.key)
        partition = {DATE_PARTITION.name: f"{self.hour - ago[0]:%Y-%m-%d}"}
        rows_a_group = spec.rows_a_group if level == FAST else spec.archived_rows_a_group
        return write_data_file(
            lake,
            spec.name,
            partition,
            [shifted],
            spec.described,
            level,
            synced=False,
            rows_a_group=rows_a_group,
        )

    @staticmethod
    def _add(lake: Lake, stream: Stream, files: Iterable[AddAction]) -> None:
        table = lake.open(stream.history_table)
        table.create_write_transaction(
            [*files], "append", table.schema(), partition_by=[DATE_PARTITION.name]
        )


def fill_database(database_url: str, fleet: FleetLake, now: datetime) -> None:
    """Fill the database: devices, links, marts of a day, an alert at one vehicle in 20."""
    ids = {stream.name: fleet.device_ids(stream) for stream in STREAMS.values()}
    with psycopg.connect(database_url) as conn:
        for name, devices in ids.items():
            times = [now - timedelta(days=fleet.days)] * len(devices) + [now] * len(devices)
            told = {
                "stream": name,
                "devices": [*devices, *devices],
                "times": times,
                "energies": [True] * len(times),
            }
            conn.execute(query("register_devices"), told)
        pairs = fleet.named_pairs()
        conn.execute(
            b"INSERT INTO named_link (vehicle_id, meter_id, first_named_at)"
            b" SELECT vehicle_id, meter_id, %s"
            b" FROM unnest(%s::text[], %s::text[]) AS pair (vehicle_id, meter_id)",
            (
                now - timedelta(days=fleet.days),
                pairs["vehicle_id"].to_list(),
                pairs["meter_id"].to_list(),
            ),
        )
        conn.execute(
            b"INSERT INTO vehicle_efficiency_hourly (hour_start, vehicle_id, energy_ac_kwh,"
            b" energy_dc_kwh, efficiency_percent, status, data_points_meter, data_points_vehicle,"
            b" coverage_ac, coverage_dc, longest_gap_seconds, resets, duplicates, meter_ids)"
            b" SELECT hour, vehicle_id, 2.0, 1.8, 90, 'good', 60, 60, 1, 1, 60, 0, 0, ARRAY['M']"
            b" FROM unnest(%s::text[]) AS vehicle_id,"
            b" generate_series(%s::timestamptz - interval '23 hours', %s, '1 hour') AS hour",
            (ids["vehicle"], fleet.hour, fleet.hour),
        )
        conn.execute(
            b"INSERT INTO alert (rule, kind, device_kind, device_id, severity, since, observed_at,"
            b" message) SELECT 'silent', 'silent', 'vehicle', vehicle_id, 'warning', %s, %s, 'x'"
            b" FROM unnest(%s::text[]) AS vehicle_id",
            (now, now, ids["vehicle"][::20]),
        )
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(b"ANALYZE")


def mark_all_heard(database_url: str) -> None:
    """Mark each device as heard a little ago: a fleet that falls silent is full of alerts."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        for table in (b"meter_live_state", b"vehicle_live_state"):
            conn.execute(
                b"UPDATE %b SET \"timestamp\" = now() - interval '20 s',"
                b" received_at = now() - interval '20 s'" % table
            )


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def _renamed(rows: pl.DataFrame, stream: Stream) -> pl.DataFrame:
    """Rename the devices to the ids that the load generator posts."""
    device = pl.col("^meter_id$|^vehicle_id$")
    number = device.str.extract("([0-9]+)$").str.zfill(_DIGITS)
    prefix = device.str.extract("^([A-Z]+)")
    return rows.with_columns(prefix + number)


def _merged(received: pl.DataFrame, stream: Stream) -> pl.DataFrame:
    nothing = no_heartbeats(stream).lazy()
    rows = encode_history(merge_heartbeats(stream, nothing, [received.lazy()]).collect())
    return rows.select(history_table(stream).names)


def _earlier(rows: pl.DataFrame, stream: Stream, by: timedelta) -> pl.DataFrame:
    """Move rows to an earlier time; a register was lower by what it rose in the hour."""
    energy = pl.col(stream.energy)
    risen = (energy.max() - energy.min()).over(stream.device) * (by / HOUR)
    return rows.with_columns(
        pl.col("timestamp") - by,
        pl.when(pl.col("reading_type") == REGISTER)
        .then((energy - risen).round(6))
        .otherwise(energy)
        .alias(stream.energy),
    )
