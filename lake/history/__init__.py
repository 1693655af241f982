"""The deduplicated history of heartbeats: compaction and scans."""

from lake.history.compaction import compact_anew, rebuild_files
from lake.history.context import HistoryInOrder, HistoryWindow
from lake.history.deduplication import merge_heartbeats

__all__ = [
    "HistoryInOrder",
    "HistoryWindow",
    "compact_anew",
    "merge_heartbeats",
    "rebuild_files",
]
