"""Prices of energy: a base price, bands of hours with other prices, and their changes over time.

Explained in docs/energy.md. Prices are decimal numbers and stay exact.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from lake.time_zones import time_zone

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEK: Final[tuple[Weekday, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Price = Annotated[Decimal, Field(ge=-1_000, le=1_000, decimal_places=6)]

# No clock on earth is set by less.
_QUARTER: Final = timedelta(minutes=15)
_QUARTERS_AN_HOUR: Final = 4


class BadTariff(ValueError):
    """The file is no tariff; the text says where and why."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Band(_Part):
    """Hours of some weekdays, by local time, that have a price of their own."""

    days: tuple[Weekday, ...] = Field(default=WEEK, min_length=1)
    from_hour: int = Field(ge=0, le=23)
    to_hour: int = Field(ge=1, le=24)
    price_per_kwh: Price

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.to_hour <= self.from_hour:
            raise ValueError(
                "to_hour must be after from_hour; a band over midnight is two, to 24 and from 0"
            )
        return self

    def holds(self, weekday: Weekday, hour: int) -> bool:
        """Tell whether an hour of local time is in the band."""
        return weekday in self.days and self.from_hour <= hour < self.to_hour


class TariffPeriod(_Part):
    """Prices from a local day on, until the next period: a base price and bands with others."""

    valid_from: date
    price_per_kwh: Price
    bands: tuple[Band, ...] = ()

    @field_validator("bands")
    @classmethod
    def _do_not_overlap(cls, bands: tuple[Band, ...]) -> tuple[Band, ...]:
        for one, other in combinations(bands, 2):
            hour = max(one.from_hour, other.from_hour)
            for day in WEEK:
                if one.holds(day, hour) and other.holds(day, hour):
                    raise ValueError(f"two bands hold {day} {hour}:00; an hour has one price")
        return bands


def _known_zone(name: str) -> str:
    time_zone(name)
    return name


class Tariff(_Part):
    """Prices of energy over time, in one currency and by the clock of one time zone."""

    currency: str = Field(pattern="^[A-Z]{3}$", description="ISO 4217, as EUR")
    time_zone: Annotated[str, AfterValidator(_known_zone)]
    periods: tuple[TariffPeriod, ...] = Field(min_length=1)

    @field_validator("periods")
    @classmethod
    def _begin_on_different_days(
        cls, periods: tuple[TariffPeriod, ...]
    ) -> tuple[TariffPeriod, ...]:
        days = [period.valid_from for period in periods]
        if len(set(days)) < len(days):
            raise ValueError("two periods have one valid_from")
        return tuple(sorted(periods, key=lambda period: period.valid_from))

    def price_at(self, moment: datetime) -> Decimal | None:
        """Return the price of a kWh at a time; None before the first period."""
        local = moment.astimezone(ZoneInfo(self.time_zone))
        begun = [period for period in self.periods if period.valid_from <= local.date()]
        if not begun:
            return None
        weekday = WEEK[local.weekday()]
        own = [b.price_per_kwh for b in begun[-1].bands if b.holds(weekday, local.hour)]
        return own[0] if own else begun[-1].price_per_kwh

    def price_of_hour(self, start: datetime) -> Decimal | None:
        """Return the price of a kWh spread evenly over the UTC hour; None if a part has none.

        Where the zone is off UTC by a part of an hour it is the mean of the quarters, exactly.
        """
        prices = [self.price_at(start + n * _QUARTER) for n in range(_QUARTERS_AN_HOUR)]
        known = [price for price in prices if price is not None]
        if len(known) < len(prices):
            return None
        return known[0] if len(set(known)) == 1 else sum(known) / Decimal(_QUARTERS_AN_HOUR)


def prices_of_hours(tariff: Tariff, hours: Iterable[datetime]) -> dict[datetime, Decimal]:
    """Return the price of each UTC hour that has one."""
    found = ((hour, tariff.price_of_hour(hour)) for hour in hours)
    return {hour: price for hour, price in found if price is not None}


def read_tariff(path: Path) -> Tariff:
    """Read a tariff from a YAML or JSON file; BadTariff names the place of the first fault."""
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Tariff.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        reason = first["msg"].removeprefix("Value error, ")
        raise BadTariff(f"{path}: {place}: {reason}") from None
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise BadTariff(f"{path}: {' '.join(str(error).split())}") from None
