"""The terminal of `wattlake up`: lines that stay, and one line that changes."""

import contextlib
import io
import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

_PLAIN_SECONDS = 10.0
_PLAIN_WIDTH = 110


def output_console() -> Console:
    """Console of standard output, wide enough for the tables where it is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)


def guard_output() -> None:
    """Keep failing output from ending this process: a full disk, a pipe that nobody reads."""
    encoding = sys.stdout.encoding if sys.stdout else "utf-8"
    sys.stdout, sys.stderr = _UnfailingOutput(1, encoding), _UnfailingOutput(2, encoding)


class Terminal:
    """Terminal with a status line; where there is none, the line is printed every ten seconds."""

    def __init__(self) -> None:
        self._console = output_console()
        self._live = Live(Text(""), console=self._console, transient=True, auto_refresh=False)
        self._printed_at = -_PLAIN_SECONDS

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def print(self, what: RenderableType = "") -> None:
        """Print what stays; a line of text is not folded, so that its paths can be copied."""
        self._console.print(what, soft_wrap=isinstance(what, str | Text))

    def show_step(self, text: str) -> None:
        """Show the current step in the status line; where that can't change, print it."""
        if self._console.is_terminal:
            self._live.update(Text(f"{text} ...", style="bright_black"), refresh=True)
        else:
            self._console.print(text)

    def show_status(self, text: Text) -> None:
        """Show a status in the status line."""
        if self._console.is_terminal:
            text.no_wrap, text.overflow = True, "ellipsis"  # a wrapped line leaves halves behind
            self._live.update(text, refresh=True)
        elif time.monotonic() - self._printed_at >= _PLAIN_SECONDS:
            self._printed_at = time.monotonic()
            self._console.print(text, soft_wrap=True)


class _UnfailingOutput(io.TextIOWrapper):
    def __init__(self, descriptor: int, encoding: str) -> None:
        file = io.BufferedWriter(io.FileIO(descriptor, "wb", closefd=False))
        super().__init__(file, encoding, "backslashreplace", line_buffering=True)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().flush()
