"""Reads of low latency: open tables, caches of devices, pages of rows."""

from lake.reads.device_reader import DeviceReader, LakeSnapshot
from lake.reads.hour_index import HourIndex
from lake.reads.table_pages import PagePosition, PageQuery, page_position, read_page, row_period
from lake.reads.table_reader import TableReader, TableVersion

__all__ = [
    "DeviceReader",
    "HourIndex",
    "LakeSnapshot",
    "PagePosition",
    "PageQuery",
    "TableReader",
    "TableVersion",
    "page_position",
    "read_page",
    "row_period",
]
