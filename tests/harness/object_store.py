"""An S3 server on loopback, and what goes wrong between it and its clients.

The server is moto. Like S3 it refuses the second of two conditional puts, on which each commit of
a Delta table rests.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from lake import Lake
from tests.harness.flaky_proxy import OWN, Fault, as_json
from tests.harness.processes import free_port
from tests.harness.waiting import wait_for

BUCKET: Final = "fleet"
COMMIT: Final = r"PUT .*/_delta_log/\d+\.json"
"""What matches the requests that write a version of a table."""

_REGION: Final = "eu-central-1"
_ROOT: Final = Path(__file__).parents[2]


class ObjectStore:
    """A way to a store that can be told to fail."""

    def __init__(self, http: httpx.Client) -> None:
        """`http` speaks to a `tests.harness.flaky_proxy`."""
        self._http = http

    @property
    def options(self) -> dict[str, str]:
        """The options of a lake in this store."""
        return {
            "AWS_ENDPOINT_URL": str(self._http.base_url).rstrip("/"),
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": _REGION,
            "AWS_ACCESS_KEY_ID": "wattlake",
            "AWS_SECRET_ACCESS_KEY": "wattlake",
        }

    def lake(self, name: str) -> Lake:
        """A lake of this name."""
        return Lake(f"s3://{BUCKET}/{name}", self.options)

    def fail(self, *faults: Fault) -> None:
        """Let requests fail from now on; without a fault none does."""
        self._http.put(f"{OWN}faults", json=as_json([*faults])).raise_for_status()

    def faults_left(self) -> int:
        """How many requests are still to fail."""
        found: list[dict[str, Any]] = self._http.get(f"{OWN}faults").json()
        return sum(fault["times"] for fault in found)

    def requests(self) -> Mapping[str, int]:
        """How many requests of each method came so far."""
        found: dict[str, int] = self._http.get(f"{OWN}requests").json()
        return found


@contextmanager
def s3_server() -> Iterator[int]:
    """A server with an empty bucket; its port."""
    port = free_port()
    with _process("moto.server", "-H", "127.0.0.1", "-p", str(port)):
        wait_for(lambda: _has_bucket(port))
        yield port


@contextmanager
def object_store(server_port: int) -> Iterator[ObjectStore]:
    """A way of its own to a server."""
    with _process("tests.harness.flaky_proxy", str(server_port)) as process:
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        with httpx.Client(base_url=address) as http:
            yield ObjectStore(http)


@contextmanager
def _process(module: str, *arguments: str) -> Iterator[Any]:
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=_ROOT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _has_bucket(port: int) -> bool:
    place = f"<LocationConstraint>{_REGION}</LocationConstraint>"
    body = f"<CreateBucketConfiguration>{place}</CreateBucketConfiguration>"
    try:
        return httpx.put(f"http://127.0.0.1:{port}/{BUCKET}", content=body).is_success
    except httpx.TransportError:
        return False
