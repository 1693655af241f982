"""The deduplicated history of heartbeats: compaction and scans."""

from lake.history.compaction import rebuild_files, rebuild_hour
from lake.history.context import HistoryWindow, SequentialHistoryReader
from lake.history.deduplication import merge_heartbeats, no_heartbeats

__all__ = [
    "HistoryWindow",
    "SequentialHistoryReader",
    "merge_heartbeats",
    "no_heartbeats",
    "rebuild_files",
    "rebuild_hour",
]
