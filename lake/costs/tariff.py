"""Prices of energy: a base price, bands of hours with other prices, and their changes over time.

Explained in docs/energy.md. Prices are decimal numbers and stay exact.
"""

from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import combinations, product
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
    """Hours of some weekdays, by local time, that have a price of their own.

    A band over midnight, as from 22 to 6, belongs to the weekday on which it begins.
    """

    days: tuple[Weekday, ...] = Field(default=WEEK, min_length=1)
    from_hour: int = Field(ge=0, le=23)
    to_hour: int = Field(ge=1, le=24)
    price_per_kwh: Price

    @model_validator(mode="after")
    def _has_hours(self) -> Self:
        if self.to_hour == self.from_hour:
            raise ValueError("to_hour must not be from_hour; a whole day is from 0 to 24")
        return self

    def holds(self, weekday: Weekday, hour: int) -> bool:
        """Tell whether an hour of local time is in the band."""
        if self.from_hour < self.to_hour:
            return weekday in self.days and self.from_hour <= hour < self.to_hour
        before = WEEK[WEEK.index(weekday) - 1]
        return (weekday in self.days and hour >= self.from_hour) or (
            before in self.days and hour < self.to_hour
        )


class TariffPeriod(_Part):
    """Prices from a local day on, until the next period: a base price and bands with others."""

    valid_from: date
    price_per_kwh: Price
    bands: tuple[Band, ...] = ()

    @field_validator("bands")
    @classmethod
    def _do_not_overlap(cls, bands: tuple[Band, ...]) -> tuple[Band, ...]:
        for one, other in combinations(bands, 2):
            for day, hour in product(WEEK, range(24)):
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


TariffName = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Tariffs(_Part):
    """Tariffs by name; what is at no depot that names one has the default one, or no price."""

    tariffs: dict[TariffName, Tariff] = Field(min_length=1)
    default: str | None = None

    @model_validator(mode="after")
    def _knows_the_default(self) -> Self:
        if self.default is not None and self.default not in self.tariffs:
            raise ValueError(f"default: there is no tariff {self.default!r}")
        return self


def read_tariffs(path: Path) -> Tariffs:
    """Read tariffs from a YAML or JSON file; BadTariff names the place of the first fault.

    A file without `tariffs` is a single one, for all.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "tariffs" in content:
            return Tariffs.model_validate(content)
        return Tariffs(tariffs={"default": Tariff.model_validate(content)}, default="default")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        reason = first["msg"].removeprefix("Value error, ")
        raise BadTariff(f"{path}: {place}: {reason}") from None
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise BadTariff(f"{path}: {' '.join(str(error).split())}") from None
