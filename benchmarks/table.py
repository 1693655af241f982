"""The table that a suite prints."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Goal:
    """A limit that the median is to reach."""

    limit: float
    at_least: bool = True

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<'} {number(self.limit)}"

    def is_reached(self, value: float) -> bool:
        """True if the value is on the right side."""
        return value >= self.limit if self.at_least else value < self.limit


class TableRow(Protocol):
    """A line of a table."""

    def texts(self) -> dict[str, str]:
        """The text of each column."""
        ...


@dataclass(frozen=True)
class Row:
    """One measured quantity: a value of each run, and what else there is to say by column."""

    case: str
    unit: str
    values: Sequence[float]
    goal: Goal | None = None
    cells: Mapping[str, str] = field(default_factory=dict)

    def texts(self) -> dict[str, str]:
        """The text of each column."""
        median = statistics.median(self.values)
        return {
            "case": self.case,
            "runs": str(len(self.values)),
            "median": f"{number(median)} {self.unit}".rstrip(),
            "min-max": f"{number(min(self.values))}-{number(max(self.values))}",
            "goal": str(self.goal or ""),
            "reached": ("yes" if self.goal.is_reached(median) else "no") if self.goal else "",
            **self.cells,
        }


@dataclass(frozen=True)
class Report:
    """Report of a suite: its table, notes about it, and errors."""

    rows: Sequence[TableRow]
    notes: list[str]
    errors: list[str]


def number(value: float) -> str:
    """Three significant digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(rows: Sequence[TableRow]) -> str:
    """The rows as aligned text; a column stands where a row first has it."""
    texts = [row.texts() for row in rows]
    columns = list(dict.fromkeys(column for text in texts for column in text))
    lines = [columns, *([text.get(column, "") for column in columns] for text in texts)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
