"""Live state for all 20,000 devices of the fleet."""

import time
from typing import Final

from benchmarks import fleet
from benchmarks.stack import StackUnderTest

_BATCH: Final = 1_000
_REQUESTS_OF_ALL: Final = len(fleet.STREAMS) * fleet.DEVICES // _BATCH
_STRETCH_SECONDS: Final = 0.2
_AGO_SECONDS: Final = 300  # more minutes than rounds of the fleet can come in a stretch


def make_all_live(stack: StackUnderTest) -> int:
    """Post a heartbeat of each device, at most five minutes old, or some; so many were posted."""
    posted = acknowledged = 0
    first_event = int(time.time()) - _AGO_SECONDS
    while posted < _REQUESTS_OF_ALL:
        load = stack.client(
            "benchmarks.load",
            *("--port", stack.port, "--batch", _BATCH, "--connections", 2),
            *("--seconds", _STRETCH_SECONDS),
            *("--first-event", first_event, "--first-request", posted),
        )
        posted, acknowledged = load["next_request"], acknowledged + load["acknowledged"]
    return acknowledged
