"""Files in an object store, as a file system of pyarrow."""

import io
from collections.abc import Mapping
from typing import Any, Final

import obstore
import pyarrow as pa
from deltalake.fs import DeltaStorageHandler
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import from_url

# Options of the connection, which obstore takes apart from those of the store; delta-rs takes them
# with the prefix of a store as well.
_OF_CLIENT: Final = frozenset(
    {
        "allow_http",
        "allow_invalid_certificates",
        "connect_timeout",
        "default_content_type",
        "http1_only",
        "http2_keep_alive_interval",
        "http2_keep_alive_timeout",
        "http2_keep_alive_while_idle",
        "http2_only",
        "pool_idle_timeout",
        "pool_max_idle_per_host",
        "proxy_url",
        "timeout",
        "user_agent",
    }
)
_PREFIXES: Final = ("aws_", "azure_", "google_")


class ObjectStoreHandler(DeltaStorageHandler):
    """The files below a URL, as delta-rs reads them.

    They are written by obstore: delta-rs' own writer takes no buffer but bytes, and holds the
    interpreter while it waits for the store, so that a collector would answer nobody meanwhile.
    """

    def __init__(self, uri: str, options: Mapping[str, str]) -> None:
        """`options` are those of `LAKE_STORAGE_OPTIONS`."""
        super().__init__(uri, dict(options))
        # The names are those of the kind of store, which the type stubs tell apart.
        of_store: Any = {}
        of_client: Any = {}
        for name, value in options.items():
            plain = _without_prefix(name)
            if plain in _OF_CLIENT:
                of_client[plain] = value
            else:
                of_store[name] = value
        self._store = from_url(uri, config=of_store, client_options=of_client)

    def read(self, path: str) -> bytes:
        """Return the content of a file by one request, as delta-rs asks for its length first."""
        try:
            return bytes(obstore.get(self._store, path).bytes())
        except NotFoundError as error:
            raise FileNotFoundError(f"there is no {path}") from error
        except BaseError as error:
            raise OSError(f"{path} can't be read: {error}") from error

    def open_output_stream(
        self, path: str, metadata: dict[str, str] | None = None
    ) -> pa.PythonFile:
        """Open a file that is stored whole when it is closed."""
        return pa.PythonFile(_Upload(self._store, path))


class _Upload(io.BytesIO):
    def __init__(self, store: obstore.store.ObjectStore, path: str) -> None:
        super().__init__()
        self._store, self._path = store, path

    def close(self) -> None:
        if not self.closed:
            try:
                obstore.put(self._store, self._path, self.getvalue())
            except BaseError as error:
                raise OSError(f"{self._path} can't be written: {error}") from error
            finally:
                super().close()


def _without_prefix(option: str) -> str:
    name = option.lower()
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name
