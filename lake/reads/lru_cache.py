"""A least-recently-used cache with a bound in bytes."""

from collections import OrderedDict
from threading import Lock
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """A value that knows the memory it takes."""

    @property
    def bytes(self) -> int: ...


_Key = TypeVar("_Key")
_Value = TypeVar("_Value", bound=Sized)


class LruCache(Generic[_Key, _Value]):
    """Values by key, up to about `max_bytes`; the least recently used go first.

    Safe between threads; values are replaced and never changed.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max, self._bytes = max_bytes, 0
        self._values: OrderedDict[_Key, _Value] = OrderedDict()
        self._lock = Lock()

    def get(self, key: _Key) -> _Value | None:
        """Return the value of a key, if it is still there."""
        with self._lock:
            found = self._values.get(key)
            if found is not None:
                self._values.move_to_end(key)
            return found

    def put(self, key: _Key, value: _Value) -> None:
        """Set the value of a key."""
        with self._lock:
            before = self._values.pop(key, None)
            self._bytes += value.bytes - (before.bytes if before else 0)
            self._values[key] = value
            while self._bytes > self._max and self._values:
                _, gone = self._values.popitem(last=False)
                self._bytes -= gone.bytes
