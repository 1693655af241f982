"""Checks of one hour beside the rows of its tables: counts, history, sums of energy."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import polars as pl

from lake.rollups import Tables
from lake.schema import CONFLICTING_ENERGY, CONFLICTS
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
    hour: datetime, row: LedgerHour | None, stream_hour: StreamHour
) -> Iterator[Finding]:
    """Findings where the ledger counts another history than there is."""
    if row is None or not stream_hour.history_whole:
        return
    copies = int(stream_hour.history["duplicates"].sum())
    for wrong in (
        ("compacted rows", stream_hour.history.height, row.compacted_rows),
        ("duplicates", copies, row.duplicates_removed),
    ):
        if wrong[1] != wrong[2]:
            yield ledger_finding(hour, stream_hour, wrong, Remedy.COMPUTE)


def ledger_finding(
    hour: datetime, stream_hour: StreamHour, wrong: tuple[str, int, int | None], remedy: Remedy
) -> Finding:
    """Finding of a wrong ledger row; `wrong` has the quantity, the true value and the ledger's."""
    what, is_so, in_ledger = wrong
    return Finding(
        hour=hour,
        table=LEDGER,
        expected=f"{is_so:,} {what}",
        found="none" if in_ledger is None else f"{in_ledger:,}",
        first=(stream_hour.stream.name,),
        remedy=remedy,
        stream=stream_hour.stream.name,
        last_arrival=stream_hour.last_arrival,
    )


def history_findings(hour: datetime, stream_hour: StreamHour) -> Iterator[Finding]:
    """Findings in the history, and raw heartbeats that are missing though the history has them."""
    stream = stream_hour.stream
    if stream_hour.lost.height:
        yield Finding(
            hour=hour,
            table=stream.raw_table,
            expected=f"{stream_hour.expected.height:,} heartbeats, which the history has",
            found=f"{stream_hour.lost.height:,} of them are missing",
            first=tuple(stream_hour.lost[stream.device].unique(maintain_order=True).head(5)),
            remedy=Remedy.NONE,
        )
    if not stream_hour.history_whole:
        return  # the file that can't be read is a finding
    found = row_finding(
        hour, stream.history_table, _comparable(stream_hour), stream_hour.history, stream.key
    )
    if found is not None:
        from_raw_alone = stream_hour.raw_rows is not None and not stream_hour.lost.height
        remedy = Remedy.COMPACT if from_raw_alone else Remedy.COMPUTE
        yield replace(found, remedy=remedy, stream=stream.name)


def _comparable(stream_hour: StreamHour) -> pl.DataFrame:
    """The expected rows, without conflicts where the history was written before these were told."""
    expected, key = stream_hour.expected, list(stream_hour.stream.key)
    conflicts = [column.name for column in (CONFLICTS, CONFLICTING_ENERGY)]
    untold = stream_hour.history.filter(pl.col(CONFLICTS.name).is_null()).select(key)
    if untold.is_empty():
        return expected
    names = expected.columns
    return expected.join(
        untold.with_columns(_untold=True),
        on=key,
        how="left",
        nulls_equal=True,
        maintain_order="left",
    ).select(
        pl.when(pl.col("_untold").is_null()).then(pl.col(name)).alias(name)
        if name in conflicts
        else name
        for name in names
    )


def energy_findings(
    hour: datetime, energies: Mapping[str, float], found: Tables, changes: int
) -> Iterator[Finding]:
    """Findings where tables, of those that can be read, do not add up to the measured energy.

    `changes` counts how often links begin or end around the hour.
    """
    for energy in ENERGY_SUMS:
        if energy.table.name not in found:
            continue
        measured_kwh, parts = energies[energy.stream.name], energy.parts(found)
        if not energy.agrees(measured_kwh, parts, changes):
            yield Finding(
                hour=hour,
                table=energy.name,
                expected=f"{measured_kwh:.10g} kWh",
                found=f"{parts:.10g} kWh",
                first=(),
                remedy=Remedy.COMPUTE,
            )
