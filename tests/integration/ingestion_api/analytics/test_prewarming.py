"""What is read ahead goes on whatever happens, and does not fill the log."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from structlog.testing import capture_logs

from ingestion_api.analytics.prewarming import CacheWarmer
from ingestion_api.database.dedicated_connection import DedicatedConnection
from lake import HOUR, METER, Lake, compact_hour
from lake.reads.device_reader import DeviceReader
from lake.reads.hour_index import HourIndex
from tests.harness.processes import free_port
from tests.harness.raw_table import append_from
from tests.harness.waiting import wait_for
from tests.samples import HOUR_10, meter_rows


def test_an_index_without_room_is_one_warning_and_goes_on_by_itself(
    lake: Lake, tmp_path: Path
) -> None:
    append_from(lake, METER, meter_rows({"timestamp": HOUR_10}), "test", 1, 0)
    compact_hour(lake, METER, HOUR_10)
    room, looks = tmp_path / "room", list[datetime]()
    reader = DeviceReader(lake, 0, HourIndex(lake, room, 26))
    away = DedicatedConnection(f"postgresql://nobody@127.0.0.1:{free_port()}/none", "test")

    def now() -> datetime:
        looks.append(datetime.now(UTC))
        return HOUR_10 + HOUR

    async def run() -> None:
        async with CacheWarmer(away, reader, 0.001, now):
            await asyncio.to_thread(wait_for, lambda: len(looks) > 5)
            assert reader.indexed_hours == 0
            room.mkdir()
            await asyncio.to_thread(wait_for, lambda: reader.indexed_hours == 1)

    with capture_logs() as logs:
        asyncio.run(run())
    said = [line["event"] for line in logs]
    assert said.count("hours are not indexed, answers take longer") == 1
