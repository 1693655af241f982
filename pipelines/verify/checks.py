"""What must hold in one hour, beside the rows of its tables: counts, history, sums of energy."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from lake.rollups import Tables
from pipelines.verify.findings import Finding, Remedy, row_finding
from pipelines.verify.heartbeats import StreamHour
from pipelines.verify.recompute import ENERGY_SUMS

LEDGER: Final = "partition_ledger"


@dataclass(frozen=True)
class LedgerHour:
    """One row of the ledger."""

    stream: str
    hour: datetime
    raw_rows: int
    raw_version: int
    compacted_version: int | None
    compacted_rows: int | None
    duplicates_removed: int | None
    computed_version: int | None
    published_version: int | None
    revision: int
    raw_dropped: bool
    waits: bool


def compaction_findings(
    hour: datetime, row: LedgerHour | None, truth: StreamHour
) -> Iterator[Finding]:
    """Where the ledger tells something else of the history than is in it."""
    if row is None or not truth.history_whole:
        return
    copies = int(truth.history["duplicates"].sum())
    for wrong in (
        ("compacted rows", truth.history.height, row.compacted_rows),
        ("duplicates", copies, row.duplicates_removed),
    ):
        if wrong[1] != wrong[2]:
            yield ledger_finding(hour, truth, wrong, Remedy.COMPUTE)


def ledger_finding(
    hour: datetime, truth: StreamHour, wrong: tuple[str, int, int | None], remedy: Remedy
) -> Finding:
    """A row of the ledger that is wrong: in what, what it should say, what it says."""
    what, is_so, told = wrong
    return Finding(
        hour=hour,
        table=LEDGER,
        expected=f"{is_so:,} {what}",
        found="none" if told is None else f"{told:,}",
        first=(truth.stream.name,),
        remedy=remedy,
        stream=truth.stream.name,
        last_arrival=truth.last_arrival,
    )


def history_findings(hour: datetime, truth: StreamHour) -> Iterator[Finding]:
    """What is wrong with the history, and what raw should hold, because the history does."""
    stream = truth.stream
    if truth.lost.height:
        yield Finding(
            hour=hour,
            table=stream.raw_table,
            expected=f"{truth.expected.height:,} heartbeats, which the history has",
            found=f"{truth.lost.height:,} of them are missing",
            first=tuple(truth.lost[stream.device].unique(maintain_order=True).head(5)),
            remedy=Remedy.NONE,
        )
    if not truth.history_whole:
        return  # the file that can't be read is a finding
    found = row_finding(hour, stream.history_table, truth.expected, truth.history, stream.key)
    if found is not None:
        from_raw_alone = truth.raw_rows is not None and not truth.lost.height
        remedy = Remedy.COMPACT if from_raw_alone else Remedy.COMPUTE
        yield replace(found, remedy=remedy, stream=stream.name)


def energy_findings(
    hour: datetime, energies: Mapping[str, float], found: Tables
) -> Iterator[Finding]:
    """Where the tables, those that can be read, do not add up to what the devices have measured."""
    for energy in ENERGY_SUMS:
        if energy.table.name not in found:
            continue
        measured_kwh, parts = energies[energy.stream.name], energy.parts(found)
        if parts != measured_kwh:
            yield Finding(
                hour=hour,
                table=energy.name,
                expected=f"{measured_kwh:.10g} kWh",
                found=f"{parts:.10g} kWh",
                first=(),
                remedy=Remedy.COMPUTE,
            )
