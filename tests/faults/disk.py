"""Disks that can fill up, and the one that the lake lies on, which can go away, too.

Where this process may mount, it is a file system in memory, and full means ENOSPC. Elsewhere it
is a folder, and only a limit on the size of files (EFBIG, see `FaultyCollector.limit_files`) lets
a write fail half-way; that works for every user.
"""

import os
import random
import subprocess
from pathlib import Path
from typing import Final, Self

_SIZE: Final = 2 << 30
_ATTEMPTS: Final = 20


class Disk:
    """A file system of its own at `folder`, which is made if it is not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.can_fill = False

    def __enter__(self) -> Self:
        self.folder.mkdir(exist_ok=True)
        options = ["-o", f"size={_SIZE},mode=0755"]
        command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(self.folder)]
        self.can_fill = subprocess.run(command, capture_output=True, check=False).returncode == 0
        return self

    def __exit__(self, *_: object) -> None:
        if self.can_fill:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def fill(self, chance: random.Random) -> None:
        """Leave less room than a flush needs; with luck it breaks off in the middle of a file."""
        for _ in range(_ATTEMPTS):
            figures = os.statvfs(self.folder)
            used = (figures.f_blocks - figures.f_bfree) * figures.f_frsize
            if self._resize(used + chance.randint(0, 16) * figures.f_frsize):
                return
        raise OSError(f"{self.folder} can't be filled: it grows all the time")

    def free(self) -> None:
        """Make room again."""
        assert self._resize(_SIZE)

    def _resize(self, size: int) -> bool:
        """Set the size; False if more than that has been written meanwhile."""
        command = ["mount", "-o", f"remount,size={size}", str(self.folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


class LakeDisk(Disk):
    """Disk of a lake: `lake` is the path to give to collectors, which make the folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.lake = folder / "lake"
        self._away = folder / "lake.away"
        self._left_overs = 0

    def take_away(self, *, something_else_instead: bool) -> None:
        """Let the lake be gone: nothing at its path, as under a lost mount, or no folder."""
        self.lake.rename(self._away)
        if something_else_instead:
            self.lake.write_text("not a folder", encoding="ascii")

    def bring_back(self) -> None:
        """Let the lake be there again, whatever a write in progress has left in its place.

        AssertionError if there are new tables: readers would have taken them for the whole truth.
        """
        created = list(self.lake.glob(f"*/_delta_log/{0:020}.json"))
        while self._away.exists():
            try:
                self._away.rename(self.lake)
            except OSError:  # something is in its place
                self._left_overs += 1
                self.lake.rename(self.folder / f"left-over-{self._left_overs}")
        assert not created, f"a new lake took the place of the one that was away: {created}"
