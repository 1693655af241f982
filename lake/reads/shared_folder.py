"""A folder of files that processes of a machine make for each other, while one of them runs."""

import fcntl
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_USED: Final = "used"  # each process that uses the folder holds a shared lock of it
_MAKING: Final = "making"  # who makes a file, a lock of this
_UNFINISHED: Final = "unfinished"
_OURS: Final = frozenset({_USED, _MAKING})


class SharedFolder:
    """A folder that holds a file once, whoever asks for it first.

    The first process finds it empty, so that nothing is left of a crash of the machine, and the
    last one removes it. A file that somebody has open stays readable.
    """

    def __init__(self, path: Path) -> None:
        """`path` is made when it is needed; the folder around it is there."""
        self._path = path
        self._used: int | None = None
        self._is_closed = False

    def opened(self, name: str, make: Callable[[Path], None]) -> int:
        """Return a descriptor that reads a file, which `make` writes if it is not there.

        Blocks while another process makes one. Raises OSError, also once it is closed.
        """
        self._enter()
        with self._making():
            if self._used is None:
                raise OSError(f"{self._path} is closed")
            file = self._path / name
            if not file.exists():
                unfinished = self._path / _UNFINISHED
                make(unfinished)
                unfinished.rename(file)
            return os.open(file, os.O_RDONLY)

    def keep(self, prefix: str, names: Collection[str]) -> None:
        """Remove all files whose names begin so, but for these. Raises OSError."""
        if self._used is not None:
            self._remove(file for file in self._files(prefix) if file.name not in names)

    def close(self) -> None:
        """Leave the folder; the last one removes it."""
        self._is_closed = True
        if self._used is None:
            return
        with suppress(OSError), self._making():  # others use it, or the disk is gone
            fcntl.flock(self._used, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._remove([*self._files(), self._path / _MAKING, self._path / _USED])
            self._path.rmdir()
        os.close(self._used)
        self._used = None

    def _enter(self) -> None:
        if self._used is not None or self._is_closed:
            return
        self._path.mkdir(mode=0o700, exist_ok=True)
        if self._path.lstat().st_uid != os.geteuid():
            raise PermissionError(f"{self._path} belongs to another user")
        used = os.open(self._path / _USED, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            with suppress(BlockingIOError):  # others use it, and trust its files
                fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._remove(self._files())
            fcntl.flock(used, fcntl.LOCK_SH)
            if not os.path.samestat(os.fstat(used), (self._path / _USED).stat()):
                raise FileNotFoundError(f"{self._path} was removed meanwhile; it is made anew")
        except OSError:
            os.close(used)
            raise
        self._used = used

    def _files(self, prefix: str = "") -> Iterator[Path]:
        return (one for one in self._path.glob(f"{prefix}*") if one.name not in _OURS)

    def _remove(self, files: Iterable[Path]) -> None:
        for file in list(files):
            file.unlink(missing_ok=True)

    @contextmanager
    def _making(self) -> Iterator[None]:
        lock = os.open(self._path / _MAKING, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
