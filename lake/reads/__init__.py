"""Reads of low latency: open tables, caches of devices, pages of rows."""

from lake.reads.device_reader import ALWAYS, DeviceReader, Heard, LakeSnapshot, Reach
from lake.reads.device_readings import Readings
from lake.reads.device_sides import side_of_devices
from lake.reads.hour_index import HourIndex
from lake.reads.lru_cache import LruCache
from lake.reads.part_of_fleet import PartOfFleet
from lake.reads.table_pages import PagePosition, PageQuery, page_position, read_page, row_period
from lake.reads.table_reader import TableReader, TableVersion

__all__ = [
    "ALWAYS",
    "DeviceReader",
    "Heard",
    "HourIndex",
    "LakeSnapshot",
    "LruCache",
    "PagePosition",
    "PageQuery",
    "PartOfFleet",
    "Reach",
    "Readings",
    "TableReader",
    "TableVersion",
    "page_position",
    "read_page",
    "row_period",
    "side_of_devices",
]
