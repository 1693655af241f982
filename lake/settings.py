"""Settings: the place of the lake, and the limits of its mathematics."""

from typing import Self

from pydantic import BaseModel, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class LakeSettings(BaseSettings):
    """Read from the environment and `.env`; each name in capitals is the variable."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    lake_uri: str = Field(
        default="data/lake",
        description="folder or object-store URL (s3://, gs://, az://) that holds the tables",
    )
    lake_storage_options: dict[str, str] = Field(
        default_factory=dict,
        description='options of the object store as JSON, e.g. {"AWS_REGION": "eu-central-1"}',
    )


class ChargerClass(BaseModel, frozen=True, extra="forbid"):
    """Limits of one class of chargers; None: as for all."""

    excellent_above_percent: float | None = None
    good_from_percent: float | None = None
    warning_from_percent: float | None = None
    nominal_voltage: float | None = Field(default=None, gt=0)
    register_size_kwh: float | None = Field(default=None, gt=0)


class EnergySettings(BaseSettings):
    """Limits of the energy mathematics; the defaults are those of docs/energy.md."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    nominal_interval_seconds: float = Field(
        default=60, gt=0, description="time that a device's first reading covers"
    )
    largest_gap_seconds: float = Field(
        default=300, gt=0, le=3600, description="longest time that one reading covers"
    )
    register_noise_kwh: float = Field(
        default=0.15, ge=0, description="a register that steps back by less has not been reset"
    )
    register_lookback_hours: int = Field(
        default=48, ge=1, description="how far back the previous reading of a register is looked up"
    )
    register_size_kwh: float | None = Field(
        default=None, gt=0, description="a register rolls over to zero here; empty: none does"
    )
    idle_below_kwh: float = Field(
        default=0.05, ge=0, description="AC energy under which a window is idle"
    )
    matched_share_limit: float = Field(
        default=0.9, ge=0, le=1, description="matched share of either side that a ratio needs"
    )
    excellent_above_percent: float = Field(default=90, description="efficiency above is excellent")
    good_from_percent: float = Field(default=85, description="efficiency from here is good")
    warning_from_percent: float = Field(
        default=80, description="efficiency from here is a warning, below it is critical"
    )
    nominal_voltage: float = Field(default=230, gt=0, description="nominal AC voltage, volt")
    charger_classes: dict[str, ChargerClass] = Field(
        default_factory=dict,
        description="what is different for a class of chargers as JSON, e.g. "
        '{"household": {"good_from_percent": 76, "warning_from_percent": 70}}',
    )
    link_by_trailing_number: bool = Field(
        default=True,
        description="guess that METER001 feeds VEH001 where neither was linked otherwise before; "
        "GET /v1/links/guessed lists the pairs",
    )

    @model_validator(mode="after")
    def _limits_in_order(self) -> Self:
        for name in (None, *self.charger_classes):
            limits = self.status_limits(name)
            if list(limits) != sorted(limits):
                of_class = f" of charger class {name!r}" if name else ""
                raise ValueError(
                    "limits must rise: WARNING_FROM_PERCENT, GOOD_FROM_PERCENT, "
                    f"EXCELLENT_ABOVE_PERCENT{of_class}"
                )
        return self

    def status_limits(self, charger_class: str | None) -> tuple[float, float, float]:
        """Return warning_from, good_from and excellent_above of a class in percent, or of all.

        A class without a limit of its own has that of all; so has a class nobody described.
        """
        of_class = self.charger_classes.get(charger_class or "", ChargerClass())
        return (
            _first(of_class.warning_from_percent, self.warning_from_percent),
            _first(of_class.good_from_percent, self.good_from_percent),
            _first(of_class.excellent_above_percent, self.excellent_above_percent),
        )

    def register_size(self, charger_class: str | None) -> float | None:
        """Return the kWh at which the register of this class rolls over; None: never."""
        of_class = self.charger_classes.get(charger_class or "", ChargerClass())
        size = of_class.register_size_kwh
        return self.register_size_kwh if size is None else size


def _first(own: float | None, of_all: float) -> float:
    return of_all if own is None else own
