"""Record of strace: changes of files and folders, and their syncs."""

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

# Paths of open files are shown, and enough of a text to hold an SQL statement.
_CHANGES: Final = "openat,creat,write,pwrite64,writev,pwritev,ftruncate,fallocate"
_ENTRIES: Final = "rename,renameat,renameat2,link,linkat,mkdir,mkdirat,unlink,unlinkat"
_OTHERS: Final = "fsync,fdatasync,syncfs,sendto"
STRACE: Final = ("strace", "-D", "-f", "--seccomp-bpf", "-y", "-s", "4000")
CALLS: Final = f"trace={_CHANGES},{_ENTRIES},{_OTHERS}"

_WHOLE: Final = re.compile(r"(\d+) +(\w+)\((.*)\) += (.*)")
_BEGUN: Final = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>")
_ENDED: Final = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (.*)")
_OPEN_FILE: Final = re.compile(r"-?\d+<([^>]*)>")
_NAME: Final = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Call:
    """A system call; `begun` and `ended` are lines of the record."""

    name: str
    arguments: str
    begun: int
    ended: int


class Record:
    """The successful calls of all threads of a process."""

    def __init__(self, calls: list[Call]) -> None:
        self.calls = calls
        self._changed: dict[Path, list[int]] = defaultdict(list)
        self._synced: dict[Path, list[Call]] = defaultdict(list)
        self._synced_whole: dict[int, list[Call]] = defaultdict(list)  # by file system
        for call in calls:
            self._note(call)

    @classmethod
    def read(cls, file: Path) -> Self:
        """The record that strace wrote to a file."""
        calls, begun = [], {}
        for number, line in enumerate(file.read_text(errors="replace").splitlines()):
            if match := _BEGUN.fullmatch(line):
                begun[match[1]] = (match[2], match[3], number)
                continue
            if match := _ENDED.fullmatch(line):
                name, arguments, start = begun.pop(match[1])
                arguments, result = arguments + match[3], match[4]
            elif match := _WHOLE.fullmatch(line):
                name, arguments, result, start = match[2], match[3], match[4], number
            else:
                continue
            if not result.startswith(("-1", "?")):
                calls.append(Call(name, arguments, start, number))
        return cls(calls)

    def changed_before(self, call: Call) -> set[Path]:
        """Files with new content and folders with new entries, of those that still exist."""
        return {
            path
            for path, lines in self._changed.items()
            if path.exists() and any(line < call.begun for line in lines)
        }

    def synced_before(self, path: Path, call: Call) -> bool:
        """True if a sync that began after the last change of `path` had ended by then."""
        last = max((line for line in self._changed[path] if line < call.begun), default=-1)
        syncs = self._synced[path] + self._synced_whole[os.stat(path).st_dev]
        return any(sync.begun > last and sync.ended < call.begun for sync in syncs)

    def appearance_of(self, path: Path) -> Call:
        """The call that gave a file, complete, its name."""
        (named,) = (
            call
            for call in self.calls
            if call.name.startswith(("rename", "link")) and _names(call)[1] == path
        )
        return named

    def _note(self, call: Call) -> None:
        if call.name in ("fsync", "fdatasync"):
            self._synced[_open_file(call)].append(call)
        elif call.name == "syncfs":
            self._synced_whole[os.stat(_open_file(call)).st_dev].append(call)
        elif call.name.startswith(("write", "pwrite", "ftruncate", "fallocate")):
            self._changed[_open_file(call)].append(call.ended)
        elif call.name.startswith(("mkdir", "creat")) or "O_CREAT" in call.arguments:
            (path,) = _names(call)
            self._changed[path.parent].append(call.ended)
            if not call.name.startswith("mkdir"):
                self._changed[path].append(call.ended)
        elif call.name.startswith(("rename", "link")):
            old, new = _names(call)
            self._changed[new] += self._changed[old]
            self._changed[new.parent].append(call.ended)


def _open_file(call: Call) -> Path:
    match = _OPEN_FILE.match(call.arguments)
    assert match, f"no path of a file in {call}"
    return Path(match[1])


def _names(call: Call) -> list[Path]:
    return [Path(folder or "/") / name for folder, name in _NAME.findall(call.arguments)]
