"""The fast path of reads: one look for each request, also for devices that nobody knows."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from ingestion_api.analytics.performance.vehicle_context import UnknownVehicle
from ingestion_api.routes.fast_path import FastReadPath


@pytest.mark.parametrize(
    "path",
    [
        "/v1/analytics/meter/M-1/live",
        "/v1/analytics/vehicle/V-1/live",
        "/v1/analytics/performance/V-1",
    ],
)
def test_an_unknown_device_is_looked_up_once(path: str) -> None:
    looked_up: list[str] = []
    sent: list[Message] = []

    async def get(kind: str, device: str) -> None:
        looked_up.append(f"{kind} {device}")

    async def performance_for(vehicle: str, start: None, end: None) -> None:
        looked_up.append(f"vehicle {vehicle}")
        raise UnknownVehicle(vehicle)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("the route would look it up again")

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("there is no body to read")

    services = SimpleNamespace(
        live_states=SimpleNamespace(get=get),
        performance=SimpleNamespace(performance_for=performance_for),
    )
    state_of = cast("FastAPI", SimpleNamespace(state=SimpleNamespace(services=services)))
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": path, "query_string": b""}
    asyncio.run(FastReadPath(app, state_of)(scope, receive, send))
    (device,) = looked_up
    assert sent[0]["status"] == 404
    assert f"no heartbeat of {device} was ever received" in json.loads(sent[1]["body"])["detail"]
