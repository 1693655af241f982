"""`python -m benchmarks.row_store`: the plain way to answer, to compare with.

Two history tables in Postgres with an index by device and time, and of a vehicle the two sums of 24
hours that anybody would write; the live state of a device by its primary key. One process behind
the server that the collector has, a pool of connections, and as little else as an answer needs.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
import uvicorn
from psycopg_pool import AsyncConnectionPool

IN_ORDER_OF_ARRIVAL: Final = "arrival"
BY_DEVICE: Final = "by_device"
LAYOUTS: Final = (IN_ORDER_OF_ARRIVAL, BY_DEVICE)
"""Schemas, each with all tables."""

WINDOW: Final = timedelta(hours=24)
SUMS: Final = b"""
    SELECT ac, dc, battery_temp
    FROM (SELECT sum(kwh_consumed_ac) AS ac FROM meter_history
          WHERE meter_id = (SELECT meter_id FROM vehicle_meter WHERE vehicle_id = %(vehicle)s)
            AND "timestamp" >= %(start)s AND "timestamp" < %(end)s) AS of_meter,
         (SELECT sum(kwh_delivered_dc) AS dc, avg(battery_temp) AS battery_temp
          FROM vehicle_history
          WHERE vehicle_id = %(vehicle)s
            AND "timestamp" >= %(start)s AND "timestamp" < %(end)s) AS of_vehicle
"""

_LIVE: Final = {
    "meter": b"SELECT * FROM meter_live WHERE meter_id = %s",
    "vehicle": b"SELECT * FROM vehicle_live WHERE vehicle_id = %s",
}
_CONNECTIONS: Final = 8

_Message = MutableMapping[str, Any]
_Pool = AsyncConnectionPool[psycopg.AsyncConnection[tuple[Any, ...]]]


class _Answers:
    """ASGI application: /LAYOUT/performance/VEHICLE and /LAYOUT/KIND/DEVICE."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._pools: dict[str, _Pool] = {}

    async def __call__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        _, layout, what, device = scope["path"].split("/")
        answer = (
            await self._performance(layout, device)
            if what == "performance"
            else await self._state(layout, what, device)
        )
        body = json.dumps(answer).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _performance(self, layout: str, vehicle: str) -> dict[str, Any]:
        end = datetime.now(UTC)
        told = {"vehicle": vehicle, "start": end - WINDOW, "end": end}
        async with self._pools[layout].connection() as conn:
            row = await (await conn.execute(SUMS, told, binary=True)).fetchone()
        assert row is not None, "sums always have one row"
        ac, dc, temperature = row
        return {
            "vehicleId": vehicle,
            "energyConsumedAc": ac,
            "energyDeliveredDc": dc,
            "efficiencyRatio": 100 * dc / ac if ac else None,
            "averageBatteryTemp": temperature,
        }

    async def _state(self, layout: str, kind: str, device: str) -> dict[str, Any]:
        async with self._pools[layout].connection() as conn:
            cursor = await conn.execute(_LIVE[kind], [device], binary=True)
            row = await cursor.fetchone()
        assert row is not None, "only devices that are there are asked for"
        found_id, time, *values = row
        return {"id": found_id, "timestamp": time.isoformat(), "values": values}

    async def _live(
        self,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        async with AsyncExitStack() as ending:
            await receive()
            for layout in LAYOUTS:
                options = {"options": f"-c search_path={layout}", "prepare_threshold": 0}
                pool: _Pool = AsyncConnectionPool(
                    self._dsn,
                    min_size=_CONNECTIONS,
                    max_size=_CONNECTIONS,
                    kwargs={"autocommit": True, **options},
                    open=False,
                )
                self._pools[layout] = await ending.enter_async_context(pool)
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


def main() -> int:
    """Answer on a port, from the database that DATABASE_URL names, until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.row_store", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # raised once more at the server's end
    app = _Answers(os.environ["DATABASE_URL"])
    uvicorn.run(app, port=port, access_log=False, log_level="warning", lifespan="on")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
