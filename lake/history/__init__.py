"""The deduplicated history of heartbeats: compaction and scans."""

from lake.history.compaction import rebuild_files, rebuild_hour
from lake.history.context import LONGEST_CADENCE, HistoryWindow, SequentialHistoryReader
from lake.history.deduplication import merge_heartbeats, no_heartbeats
from lake.history.nearest import READINGS_BESIDE, series_ends

__all__ = [
    "LONGEST_CADENCE",
    "READINGS_BESIDE",
    "HistoryWindow",
    "SequentialHistoryReader",
    "merge_heartbeats",
    "no_heartbeats",
    "rebuild_files",
    "rebuild_hour",
    "series_ends",
]
