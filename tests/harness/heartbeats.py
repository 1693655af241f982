"""Heartbeats to post, as devices write them in JSON."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4


def device(kind: str) -> str:
    """Id that no other test uses, and that ends in no number."""
    return f"{kind}-{uuid4().hex}-x"


def moment(seconds: float = 0) -> str:
    """Time so many seconds from now, as devices write it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def meter(meter_id: str, seconds: float = 0, **fields: Any) -> dict[str, Any]:
    """Meter heartbeat, `seconds` from now."""
    return {"meterId": meter_id, "timestamp": moment(seconds), "kwhConsumedAc": 0.2, **fields}


def vehicle(vehicle_id: str, seconds: float = 0, **fields: Any) -> dict[str, Any]:
    """Vehicle heartbeat, `seconds` from now."""
    return {"vehicleId": vehicle_id, "timestamp": moment(seconds), "kwhDeliveredDc": 0.18, **fields}
