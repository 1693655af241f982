"""An object store on loopback, and what goes wrong between it and its clients.

S3 is moto, Azure is Azurite. Like those that they stand for they refuse the second of two
conditional puts, on which each commit of a Delta table rests.
"""

import base64
import hashlib
import hmac
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final, Literal

import httpx

from lake import Lake
from tests.harness.flaky_proxy import OWN, Fault, as_json
from tests.harness.processes import free_port
from tests.harness.waiting import wait_for

BUCKET: Final = "fleet"
COMMIT: Final = r"PUT .*/_delta_log/\d+\.json"
"""What matches the requests that write a version of a table."""

Scheme = Literal["s3", "az"]
"""Kind of store, by the scheme of the URLs of its lakes."""

_REGION: Final = "eu-central-1"
_ROOT: Final = Path(__file__).parents[2]
_AZURITE: Final = Path(sys.prefix, "azurite/node_modules/.bin/azurite-blob")
# Azurite's own, which it publishes: no secret.
_ACCOUNT: Final = "devstoreaccount1"
_KEY: Final = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@dataclass(frozen=True)
class StoreServer:
    """A server with an empty bucket, which Azure calls a container."""

    scheme: Scheme
    port: int


class ObjectStore:
    """A way to a store that can be told to fail."""

    def __init__(self, scheme: Scheme, http: httpx.Client) -> None:
        """`http` speaks to a `tests.harness.flaky_proxy`."""
        self._scheme, self._http = scheme, http

    @property
    def options(self) -> dict[str, str]:
        """The options of a lake in this store."""
        address = str(self._http.base_url).rstrip("/")
        if self._scheme == "az":
            return {
                "AZURE_STORAGE_ENDPOINT": f"{address}/{_ACCOUNT}",
                "AZURE_ALLOW_HTTP": "true",
                "AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": _KEY,
            }
        return {
            "AWS_ENDPOINT_URL": address,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": _REGION,
            "AWS_ACCESS_KEY_ID": "wattlake",
            "AWS_SECRET_ACCESS_KEY": "wattlake",
        }

    def lake(self, name: str) -> Lake:
        """A lake of this name."""
        return Lake(f"{self._scheme}://{BUCKET}/{name}", self.options)

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
def s3_server() -> Iterator[StoreServer]:
    """Run moto, with an empty bucket."""
    port = free_port()
    with _python("moto.server", "-H", "127.0.0.1", "-p", str(port)):
        wait_for(lambda: _is_made(_bucket(port)))
        yield StoreServer("s3", port)


@contextmanager
def azure_server() -> Iterator[StoreServer]:
    """Run Azurite, with an empty container, in memory; FileNotFoundError without one."""
    if not _AZURITE.exists():
        raise FileNotFoundError("Azurite is missing: `make nightly PARTS=azure` installs it")
    port = free_port()
    telling_nobody = ("--inMemoryPersistence", "--disableTelemetry", "--silent")
    # It knows the versions of the API up to its own release; the clients ask for newer ones.
    options = (*telling_nobody, "--skipApiVersionCheck", "--blobPort", str(port))
    with _process(str(_AZURITE), *options):
        wait_for(lambda: _is_made(_container(port)))
        yield StoreServer("az", port)


SERVERS: Final[Mapping[Scheme, Callable[[], AbstractContextManager[StoreServer]]]] = {
    "s3": s3_server,
    "az": azure_server,
}


@contextmanager
def object_store(server: StoreServer) -> Iterator[ObjectStore]:
    """A way of its own to a server."""
    with _python("tests.harness.flaky_proxy", str(server.port)) as process:
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        with httpx.Client(base_url=address) as http:
            yield ObjectStore(server.scheme, http)


def _python(module: str, *arguments: str) -> AbstractContextManager[Any]:
    return _process(sys.executable, "-m", module, *arguments)


@contextmanager
def _process(*command: str) -> Iterator[Any]:
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=_ROOT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _is_made(request: httpx.Request) -> bool:
    try:
        with httpx.Client() as http:
            return http.send(request).is_success
    except httpx.TransportError:
        return False


def _bucket(port: int) -> httpx.Request:
    place = f"<LocationConstraint>{_REGION}</LocationConstraint>"
    body = f"<CreateBucketConfiguration>{place}</CreateBucketConfiguration>"
    return httpx.Request("PUT", f"http://127.0.0.1:{port}/{BUCKET}", content=body)


def _container(port: int) -> httpx.Request:
    """Signed by Azure's "Authorize with Shared Key"; no client here makes containers."""
    path = f"/{_ACCOUNT}/{BUCKET}"
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    lines = ["PUT", *[""] * 11, *(f"{name}:{value}" for name, value in headers.items())]
    lines += [f"/{_ACCOUNT}{path}", "restype:container"]
    signature = hmac.digest(base64.b64decode(_KEY), "\n".join(lines).encode(), hashlib.sha256)
    headers["Authorization"] = f"SharedKey {_ACCOUNT}:{base64.b64encode(signature).decode()}"
    url = f"http://127.0.0.1:{port}{path}?restype=container"
    return httpx.Request("PUT", url, headers=headers)
