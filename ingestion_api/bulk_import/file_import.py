"""Import of one file into the lake, section by section, each exactly once."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
from deltalake.transaction import AddAction

from ingestion_api.bulk_import.commit_section import CommitSection
from ingestion_api.bulk_import.encoded_batch import IdEncoder
from ingestion_api.bulk_import.intake import STRICT_ROWS, DecodedPart, RefusedRow, decode_part
from ingestion_api.bulk_import.ledger import Ledger
from ingestion_api.bulk_import.rejects import RejectsFile
from ingestion_api.bulk_import.source import Part, Source
from ingestion_api.heartbeats.batch import Limits
from lake import (
    STREAMS,
    EnergySettings,
    ImportProgress,
    Lake,
    StaleRead,
    UnusableFile,
    append_files,
    read_import_progress,
)
from lake.prefetch import prefetch
from lake.recordings import ColumnMapping, UnitCheck, with_default_stream

SECTION_ROWS: Final = 50_000_000
_TRANSACTION_SECONDS: Final = 10
_SECOND: Final = 1_000_000

# Where an import can die, in order; tests stop it at each of them.
STEPS: Final = ("before_write", "before_append", "before_merge", "before_settle", "after_settle")


@dataclass
class Progress:
    """Counts of a run; `size` is the length of the file in rows, None while it is unknown."""

    size: int | None = None
    began_after: int = 0
    read: int = 0
    taken: int = 0
    refused: int = 0
    duplicates: int = 0
    written: int = 0
    files: int = 0
    hours: set[tuple[str, int]] = field(default_factory=set)
    imported_before: bool = False
    left_out: Counter[str] = field(default_factory=Counter)
    unknown_columns: dict[str, str | None] = field(default_factory=dict)


class FileImport:
    """A file and one lake; a run that was interrupted is gone on with by the next one.

    The lake remembers how many rows of the file it holds, under the content of the file and how
    it is meant. A heartbeat's time of receipt is the moment at which the import began, later by a
    microsecond for each row before its section: what was received before gives way to it.
    """

    def __init__(
        self,
        source: Source,
        meaning: ColumnMapping,
        lake: Lake,
        ledger: Ledger,
        future_tolerance_seconds: float,
        energy: EnergySettings,
        section_rows: int = SECTION_ROWS,
        at_step: Callable[[str], None] = lambda step: None,
    ) -> None:
        """Raises UnusableFile if somebody else imports the same file."""
        self._source, self._lake, self._ledger = source, lake, ledger
        self._section_rows, self._at_step = section_rows, at_step
        self._id = f"import-{source.identity[:32]}"
        self._ids = IdEncoder()
        self._unit = UnitCheck(energy)
        if not ledger.take_lock(source.identity):
            raise UnusableFile("is being imported by another process")
        self._meaning = with_default_stream(meaning, source.fields)
        names = [self._meaning.stream] if self._meaning.stream else [*STREAMS]
        self._streams = [STREAMS[name] for name in names]
        self._reached = {
            name: read_import_progress(lake, STREAMS[name], self._id, ledger.identity)
            for name in names
        }
        began = [one.received_at for one in self._reached.values() if one.received_at is not None]
        self._received_at = min(began, default=time.time_ns() // 1_000)
        self._tolerance = timedelta(seconds=future_tolerance_seconds)
        newest = self._received_at + int(future_tolerance_seconds * _SECOND)
        self._limits = Limits(STRICT_ROWS, newest)
        self.progress = Progress(source.rows, unknown_columns=source.unknown_columns)
        done = [one.rows for one in self._reached.values() if one.rows is not None]
        self.progress.imported_before = bool(done)
        if done:
            self.progress.size = max(done)
        else:
            self.progress.began_after = min(one.upto for one in self._reached.values())

    def run(self, rejects: Path, on_progress: Callable[[], None]) -> RejectsFile | None:
        """Import what is not in yet; None if that is nothing.

        Raises UnusableFile, LakeError or psycopg.Error; the next run goes on.
        """
        self._settle_what_is_in()
        if self.progress.imported_before:
            return None
        first = self.progress.began_after
        refused = RejectsFile(rejects, first)
        parts = prefetch(self._source.parts(first))
        part = next(parts, None)
        while part is not None:
            with ExitStack() as stack:
                sections = self._sections(stack)
                upto = first
                while part is not None and upto - first < self._section_rows:
                    refused.add(self._take_in(part, sections))
                    upto = part.upto
                    on_progress()
                    part = next(parts, None)
                if first == 0:
                    self._check_unit(refused)
                refused.sync()
                filled = [section for section in sections.values() if section.rows]
                for section in filled:
                    is_end = part is None and section is filled[-1]
                    self._deliver(section, first, upto, upto if is_end else None, on_progress)
            first = upto
        return refused

    def _take_in(self, part: Part, sections: dict[str, CommitSection]) -> list[RefusedRow]:
        """Add to the sections what the lake does not hold: one stream may be further already."""
        taken = self._judged(part)
        for name, block in taken.blocks.items():
            new = taken.rows[name] > self._reached[name].upto
            if new.all():
                sections[name].add(block)
            elif new.any():
                sections[name].add(block.take(np.flatnonzero(new)))
        self.progress.read += len(part.numbers) + len(part.broken)
        self.progress.refused += len(taken.refused)
        self.progress.left_out += taken.left_out
        self.progress.taken += sum(map(len, taken.blocks.values()))
        return taken.refused

    def _sections(self, stack: ExitStack) -> dict[str, CommitSection]:
        folder = self._lake.local_folder
        return {
            stream.name: stack.enter_context(CommitSection(stream, folder))
            for stream in self._streams
        }

    def _judged(self, part: Part) -> DecodedPart:
        return decode_part(part, self._meaning, self._ids, self._limits, self._unit)

    def _check_unit(self, refused: RejectsFile) -> None:
        """Before anything of the file is taken, see whether its energies can be kWh."""
        if self._meaning.unit is None:
            try:
                self._unit.require_kwh()
            except UnusableFile:
                refused.remove()
                raise

    def _deliver(
        self,
        section: CommitSection,
        first: int,
        upto: int,
        end: int | None,
        on_progress: Callable[[], None],
    ) -> None:
        progress, stream = self.progress, section.stream

        def wrote(rows: int) -> None:
            progress.written += rows
            on_progress()

        self._at_step("before_write")
        received_at = self._received_at + first
        written = section.write(self._lake, self._ids, received_at, self._received_at, wrote)
        reached = ImportProgress(upto, first, self._received_at, None, end)
        self._append(section, written.files, received_at, reached)
        progress.duplicates += written.duplicates
        progress.files += len(written.files)
        hours, _ = section.spill.rows_by_hour()
        progress.hours |= {(stream.name, hour) for hour in hours.tolist()}

    def _append(
        self,
        section: CommitSection,
        files: Sequence[AddAction],
        received_at: int,
        reached: ImportProgress,
    ) -> None:
        """Commit the files and settle them in one transaction, whose id the commit records."""
        stream, ledger = section.stream, self._ledger
        hours, rows = section.spill.rows_by_hour()
        with ledger.transaction():
            after = replace(reached, transaction=ledger.transaction_id())
            self._at_step("before_append")
            before = self._reached[stream.name]
            version = append_files(
                self._lake, stream, files, self._id, ledger.identity, before, after
            )
            self._at_step("before_merge")
            self._merge(section, received_at)
            self._at_step("before_settle")
            ledger.settle(stream, version, hours, rows.tolist(), received_at)
        self._reached[stream.name] = after
        self._at_step("after_settle")

    def _merge(self, section: CommitSection, received_at: int) -> None:
        newest = section.latest
        self._ledger.merge(
            newest.heartbeats(self._ids, received_at),
            newest.pairs(self._ids),
            datetime.now(UTC) + self._tolerance,
        )

    def _settle_what_is_in(self) -> None:
        """Let the database know of the last commit, if its transaction did not end well."""
        for stream in self._streams:
            reached = self._reached[stream.name]
            outcome = self._outcome(reached.transaction) if reached.upto else "committed"
            if outcome == "committed":
                continue
            with CommitSection(stream, self._lake.local_folder) as section:
                for part in self._source.parts(reached.since, reached.upto):
                    block = self._judged(part).blocks.get(stream.name)
                    if block is not None:
                        section.add(block)
                # Nobody knows if the ledger has its rows: the lake writer may have counted them.
                self._merge(section, self._received_at + reached.since)
                hours, _ = section.spill.rows_by_hour()
                self._ledger.count_anew(stream, hours)

    def _outcome(self, transaction: int | None) -> str | None:
        deadline = time.monotonic() + _TRANSACTION_SECONDS
        while (outcome := self._ledger.outcome(transaction)) == "in progress":
            if time.monotonic() > deadline:
                raise StaleRead("the last import of this file has not ended yet; try again later")
            time.sleep(0.2)
        return outcome
