"""Progress display of an import: a bar on a terminal, else a line now and then, and a summary."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ingestion_api.bulk_import.file_import import Progress as Done
from ingestion_api.bulk_import.rejects import RejectsFile

_LINE_SECONDS: Final = 10.0
_REASONS_SHOWN: Final = 5
_ADVISED_PARTITIONS: Final = 100_000
_1970: Final = date(1970, 1, 1)


class ProgressDisplay:
    """Progress and summary of an import on standard output."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._began = 0.0

    def begin(self) -> None:
        """Begin the next file: its seconds count from now."""
        self._began = time.monotonic()

    def print_line(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, soft_wrap=True, markup=False)

    @contextmanager
    def track(self, file: Path, done: Done) -> Iterator[Callable[[], None]]:
        """Show how far a file is; what it yields is called after each step, from any thread."""
        if done.began_after and not done.imported_before:
            self.print_line(f"{file}: going on after row {done.began_after:,}")
        if not self._console.is_terminal:
            yield self._lines(file, done)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as bars:
            read = bars.add_task(f"{file.name}: read", total=None)
            written = bars.add_task("in the lake", total=None)

            def show() -> None:
                size = done.size
                bars.update(read, completed=done.began_after + done.read, total=size)
                total = None if size is None else size - done.refused
                bars.update(written, completed=done.began_after + done.written, total=total)

            show()
            yield show

    def summary(self, file: Path, done: Done, refused: RejectsFile | None) -> None:
        """Print what came of it."""
        if refused is None:
            self.print_line(f"{file} was imported before, all {done.size:,} rows; nothing to do")
            return
        seconds = time.monotonic() - self._began
        table = Table(show_header=False, box=None)
        table.add_row("rows", f"{done.read:,}")
        table.add_row("taken", f"{done.taken:,}")
        table.add_row("  repeats among them", f"{done.duplicates:,}")
        table.add_row("refused", f"{done.refused:,}")
        table.add_row("hours touched", f"{len(done.hours):,}")
        table.add_row("seconds", f"{seconds:,.1f}")
        table.add_row("rows a second", f"{done.read / max(seconds, 1e-3):,.0f}")
        self.print_line(f"{file}:")
        self._console.print(table)
        for name, count in done.left_out.most_common():
            self.print_line(f"  {count:,} x {name} was left out: no value that it can have")
        for column, meant in done.unknown_columns.items():
            hint = "" if meant is None else f"; did you mean {meant}?"
            self.print_line(f"  the column {column} is not known, and was left out{hint}")
        for reason, count in refused.reasons.most_common(_REASONS_SHOWN):
            self.print_line(f"  {count:,} x {reason}")
        if done.refused:
            self.print_line(f"  the refused rows are in {refused.path}")

    def first_partition(self, done: Done, before: date, day: date, set_to: date | None) -> None:
        """Say which hours are never computed, or that partitions begin earlier than `before`."""
        if set_to is not None:
            early = {hour for _, hour in done.hours if _1970 + timedelta(days=hour // 24) < set_to}
            if early:
                first = _1970 + timedelta(days=min(early) // 24)
                self.print_line(
                    f"  {len(early):,} hours before PARTITIONS_START {set_to} are not computed: "
                    f"set it to {first} and restart Dagster"
                )
                self._partitions(first)
        elif day < before:
            partitions = (datetime.now(UTC).date() - day).days * 24
            self.print_line(
                f"  hours from {day} on are computed now, and no longer from {before} on: "
                f"{partitions:,} hourly partitions. Dagster's pages show them once its code "
                "location is reloaded there, under Deployment"
            )
            self._partitions(day)

    def _partitions(self, day: date) -> None:
        if (datetime.now(UTC).date() - day).days * 24 > _ADVISED_PARTITIONS:
            self.print_line(
                f"  Dagster advises at most {_ADVISED_PARTITIONS:,}: its pages get slow"
            )

    def _lines(self, file: Path, done: Done) -> Callable[[], None]:
        printed_at = time.monotonic()

        def show() -> None:
            nonlocal printed_at
            if time.monotonic() - printed_at >= _LINE_SECONDS:
                printed_at = time.monotonic()
                self.print_line(
                    f"{file}: {done.began_after + done.read:,} rows read, "
                    f"{done.began_after + done.written:,} in the lake"
                )

        return show
