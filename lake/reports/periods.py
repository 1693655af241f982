"""Periods of reports: days, ISO weeks and months of a time zone."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from lake.schema.partitions import HOUR, hour_of

Kind = Literal["day", "week", "month"]
KINDS: Final[tuple[Kind, ...]] = ("day", "week", "month")

_WEEK: Final = re.compile(r"\d{4}-W\d{2}")
_MONTHS_A_YEAR: Final = 12


@dataclass(frozen=True, order=True)
class Period:
    """A day, an ISO week (from Monday on) or a month, by its kind and its first local day."""

    kind: Kind
    first: date

    @property
    def key(self) -> str:
        """The name of the period: 2026-01-15, 2026-W03 or 2026-01."""
        if self.kind == "day":
            return self.first.isoformat()
        if self.kind == "month":
            return f"{self.first:%Y-%m}"
        year, week, _ = self.first.isocalendar()
        return f"{year:04}-W{week:02}"

    @property
    def days(self) -> list[date]:
        """The local days of the period."""
        count = (self.next().first - self.first).days
        return [self.first + timedelta(days=n) for n in range(count)]

    def next(self) -> "Period":
        """Return the period that follows."""
        return self.moved(1)

    def moved(self, count: int) -> "Period":
        """Return the period that lies so many periods later; earlier where `count` is negative."""
        if self.kind != "month":
            days = count if self.kind == "day" else 7 * count
            return Period(self.kind, self.first + timedelta(days=days))
        months = self.first.year * _MONTHS_A_YEAR + self.first.month - 1 + count
        year, month = divmod(months, _MONTHS_A_YEAR)
        return Period("month", date(year, month + 1, 1))

    def window(self, zone: ZoneInfo) -> tuple[datetime, datetime]:
        """Return the whole UTC hours of the period, as start and end in UTC.

        An hour belongs to the local day in which it begins. So days have 23 and 25 hours where
        clocks change, and in a zone off UTC by half an hour begin half an hour after midnight.
        """
        start, end = (_first_hour(day, zone) for day in (self.first, self.next().first))
        return start, end

    def window_of_days(self, zone: ZoneInfo) -> list[tuple[date, datetime, datetime]]:
        """Return each local day of the period with its window."""
        return [(day, *Period("day", day).window(zone)) for day in self.days]

    @classmethod
    def holding(cls, kind: Kind, day: date) -> "Period":
        """Return the period of a kind that a local day lies in."""
        if kind == "week":
            return cls(kind, day - timedelta(days=day.weekday()))
        return cls(kind, day.replace(day=1) if kind == "month" else day)


def parse_period(key: str) -> Period:
    """Return the period that a key names; ValueError says what keys look like."""
    try:
        if _WEEK.fullmatch(key):
            return Period("week", date.fromisocalendar(int(key[:4]), int(key[6:]), 1))
        if len(key) == len("2026-01"):
            return Period("month", date.fromisoformat(f"{key}-01"))
        if len(key) == len("2026-01-15"):
            return Period("day", date.fromisoformat(key))
    except ValueError:
        pass
    raise ValueError(
        f"there is no period {key!r}: name a day as 2026-01-15, an ISO week as 2026-W03 or a month "
        "as 2026-01"
    )


def _first_hour(day: date, zone: ZoneInfo) -> datetime:
    midnight = datetime.combine(day, time(), zone).astimezone(UTC)
    hour = hour_of(midnight)
    return hour if hour == midnight else hour + HOUR
