"""The fleet of the measurements: 10,000 meters and 10,000 vehicles, a heartbeat a minute each."""

import json
import random
from typing import Final

DEVICES: Final = 10_000  # of each stream
STREAMS: Final = ("meter", "vehicle")
ROUND_SECONDS: Final = 60  # in which every device reports once
STAMP: Final = b"YYYY-mm-ddTHH:MM:SSZ"  # where a prebuilt request takes its event time

Heartbeat = dict[str, str | float]


def heartbeats(stream: str) -> list[Heartbeat]:
    """One heartbeat of each device in the order of their numbers; STAMP is their time.

    The values are the same in every run.
    """
    chance = random.Random(stream)
    build = _meter if stream == "meter" else _vehicle
    return [build(number, chance) for number in range(1, DEVICES + 1)]


def requests(batch: int) -> list[bytes]:
    """HTTP requests of one round, each with `batch` consecutive devices of one stream.

    Meters and vehicles alternate. `batch` must divide DEVICES; 1 is the call for one heartbeat.
    """
    if DEVICES % batch:
        raise ValueError(f"a batch of {batch} does not divide {DEVICES} devices")
    by_stream = [_requests(stream, batch) for stream in STREAMS]
    return [request for pair in zip(*by_stream, strict=True) for request in pair]


def _requests(stream: str, batch: int) -> list[bytes]:
    path = f"/v1/ingest/{stream}" + ("/batch" if batch > 1 else "")
    every = heartbeats(stream)
    found = []
    for first in range(0, DEVICES, batch):
        value = every[first : first + batch] if batch > 1 else every[first]
        body = json.dumps(value, separators=(",", ":")).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        found.append(head.encode() + body)
    return found


def _meter(number: int, chance: random.Random) -> Heartbeat:
    return {
        "meterId": f"METER{number:05d}",
        "timestamp": STAMP.decode(),
        "kwhConsumedAc": round(chance.uniform(0, 0.36), 4),
        "voltage": round(chance.gauss(231, 2), 1),
    }


def _vehicle(number: int, chance: random.Random) -> Heartbeat:
    return {
        "vehicleId": f"VEH{number:05d}",
        "timestamp": STAMP.decode(),
        "kwhDeliveredDc": round(chance.uniform(0, 0.33), 4),
        "soc": round(chance.uniform(10, 100), 1),
        "batteryTemp": round(chance.gauss(24, 5), 1),
    }
