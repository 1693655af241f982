"""Descriptions of computed tables: columns, meanings, units."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import pyarrow as pa

from lake.schema.streams import DATE_PARTITION, TIMESTAMP, Column


@dataclass(frozen=True)
class TableSpec:
    """A table that the pipelines write: partitioned by `date`, sorted by `key` within each file.

    `key` is the identity of a row. One of its columns is the time that a row is about: `timestamp`,
    `hour_start`, `begins`, or `date` where it is a UTC day. In a day's file the rows of a device
    stand together: a reader of one device skips the other groups of rows, so a group is best a
    small part of a day. A day that is archived may have groups of another size.
    """

    name: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    rows_a_group: int = 2_500
    archived_rows_a_group: int = 2_500

    @cached_property
    def time_column(self) -> str:
        """The column of the time that a row is about."""
        times = {c.name for c in self.columns if pa.types.is_temporal(c.type)}
        return next(name for name in self.key if name in times)

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of the table, its partition included."""
        fields = [column.field() for column in self.columns]
        return pa.schema(fields if DATE in self.columns else [*fields, DATE_PARTITION.field()])

    @property
    def file_schema(self) -> pa.Schema:
        """The Arrow schema of the data files, which leave the partition to their path."""
        return pa.schema([field for field in self.schema if field.name != DATE_PARTITION.name])

    @property
    def described(self) -> tuple[str, ...]:
        """The columns by whose least and greatest values readers skip a file."""
        nullable = {column.name for column in self.columns if column.nullable}
        return tuple(name for name in self.key if name not in {*nullable, DATE_PARTITION.name})

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in their order."""
        return tuple(column.name for column in self.columns)


HOUR_START: Final = Column("hour_start", TIMESTAMP, "start of the hour, UTC", nullable=False)
DATE: Final = Column("date", pa.date32(), "UTC day", nullable=False)


def number_column(name: str, description: str, nullable: bool = True) -> Column:
    """Return a column of a measure; the description ends with the unit."""
    return Column(name, pa.float64(), description, nullable)


def count_column(name: str, description: str) -> Column:
    """Return a column of a count, which is never unknown."""
    return Column(name, pa.int64(), description, nullable=False)


def text_column(name: str, description: str, nullable: bool = False) -> Column:
    """Return a column of an id or a name."""
    return Column(name, pa.large_string(), description, nullable)
