"""Reads of low latency: open tables, caches of devices, pages of rows."""

from lake.reads.device_reader import DeviceReader, LakeView
from lake.reads.hour_index import HourIndex
from lake.reads.table_pages import Place, Question, period_of, place_of, read_page
from lake.reads.table_reader import TableReader, TableVersion

__all__ = [
    "DeviceReader",
    "HourIndex",
    "LakeView",
    "Place",
    "Question",
    "TableReader",
    "TableVersion",
    "period_of",
    "place_of",
    "read_page",
]
