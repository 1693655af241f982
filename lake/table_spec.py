"""How a table that is computed from the history describes itself: columns, meanings, units."""

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from lake.streams import TIMESTAMP, Column


@dataclass(frozen=True)
class TableSpec:
    """A derived table.

    Its first column says which time a row is about: `hour_start`, or `date` where it is a UTC day.
    `key` is the identity of a row, in the order in which the rows are sorted.
    """

    name: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def time_column(self) -> str:
        """The column of the time that a row is about."""
        return self.columns[0].name

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in their order."""
        return tuple(column.name for column in self.columns)


HOUR_START: Final = Column("hour_start", TIMESTAMP, "start of the hour, UTC", nullable=False)
DATE: Final = Column("date", pa.date32(), "UTC day", nullable=False)


def number(name: str, description: str, nullable: bool = True) -> Column:
    """A column of a measure; the description ends with the unit."""
    return Column(name, pa.float64(), description, nullable)


def count(name: str, description: str) -> Column:
    """A column of a count, which is never unknown."""
    return Column(name, pa.int64(), description, nullable=False)


def text(name: str, description: str, nullable: bool = False) -> Column:
    """A column of an id or a name."""
    return Column(name, pa.large_string(), description, nullable)
