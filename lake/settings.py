"""Settings: the place of the lake, and the limits of its mathematics."""

import json
import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

# Both libraries know these stores, that of the tables and that of the other files.
_STORES: Final = ("s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss")
_STORE_URL: Final = re.compile(rf"({'|'.join(_STORES)})://[^/]")
_FILE_URL: Final = re.compile("file:///+[^/]")
_BROKEN_URL: Final = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*:/|({'|'.join(_STORES)}|file):|.*://")


def parse_json(value: object) -> object:
    """Return the value of a setting that is text of JSON; any other value as it is.

    For a BeforeValidator beside NoDecode: what pydantic-settings itself raises where a text is no
    JSON is no ValidationError.
    """
    if not isinstance(value, str):
        return value
    try:
        parsed: object = json.loads(value)
    except ValueError as error:
        raise ValueError(f"must be JSON: {error}") from None
    return parsed


def _folder_or_store(uri: str) -> str:
    """Refuse what was meant as a URL, and would silently be a folder of the working directory."""
    if _STORE_URL.match(uri) or _FILE_URL.match(uri):
        return uri
    if _BROKEN_URL.match(uri) or not uri.strip("/"):
        raise PydanticCustomError(
            "lake_uri",
            "is no URL of a store that is known: write s3://bucket/lake, gs://bucket/lake, "
            "az://container/lake, or a folder; that of a folder with : in its name begins with /",
        )
    return uri


class LakeSettings(BaseSettings):
    """Read from the environment and `.env`; each name in capitals is the variable."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # options of an object store have keys
    )

    lake_uri: Annotated[str, AfterValidator(_folder_or_store)] = Field(
        default="data/lake",
        description="folder or object-store URL (s3://, gs://, az://) that holds the tables",
    )
    lake_storage_options: Annotated[dict[str, str], NoDecode, BeforeValidator(parse_json)] = Field(
        default_factory=dict,
        description='options of the object store as JSON, e.g. {"AWS_REGION": "eu-central-1"}',
    )


class ChargerClass(BaseModel, frozen=True, extra="forbid"):
    """Limits of one class of chargers; None: as for all."""

    excellent_above_percent: float | None = None
    good_from_percent: float | None = None
    warning_from_percent: float | None = None
    implausible_below_percent: float | None = None
    nominal_voltage: float | None = Field(default=None, gt=0)
    greatest_power_kw: float | None = Field(default=None, gt=0)
    cadence_seconds: float | None = Field(default=None, gt=0)
    register_size_kwh: float | None = Field(default=None, gt=0)


_AS_ALL = ChargerClass()


class EnergySettings(BaseSettings):
    """Limits of the energy mathematics; the defaults are those of docs/energy.md."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    tariff_file: str = Field(
        default="",
        description="YAML or JSON file with the prices of energy, one tariff or several by name, "
        "see docs/energy.md; empty: nothing has a cost. The collector and Dagster read it",
    )
    nominal_interval_seconds: float = Field(
        default=60,
        gt=0,
        description="time between two readings of a device of which nothing tells its cadence",
    )
    largest_gap_seconds: float = Field(
        default=300,
        gt=0,
        le=3600,
        description="longest time that one voltage, temperature or name of a meter stands for",
    )
    register_lookback_hours: int = Field(
        default=48,
        ge=1,
        description="how far before its hours verify reads the raw heartbeats of registers",
    )
    register_noise_kwh: float = Field(
        default=0.15, ge=0, description="a register that steps back by less has not been reset"
    )
    greatest_power_kw: float = Field(
        default=500,
        gt=0,
        description="power that no charger exceeds: a register that rises faster is not believed, "
        "and energies of an imported file that mean more may be Wh",
    )
    greatest_vehicle_power_kw: float = Field(
        default=500, gt=0, description="power that no vehicle takes, likewise"
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
    implausible_below_percent: float = Field(
        default=50, description="efficiency below is no rating: a sensor or a link is wrong"
    )
    charging_above_kw: float = Field(
        default=0.3,
        gt=0,
        description="power from which on a vehicle is charging; below it a charger stands by",
    )
    session_pause_minutes: float = Field(
        default=30,
        gt=0,
        lt=60,
        description="longest pause within one charging session",
    )
    charging_soc_rise_percent: float = Field(
        default=2,
        gt=0,
        description="rise of the state of charge within an hour that shows charging where no DC "
        "energy is known",
    )
    plugged_link_hours: float = Field(
        default=168,
        gt=0,
        le=168,
        description="longest explicit link that is one time of being plugged in; a longer one is "
        "an assignment",
    )
    nominal_voltage: float = Field(default=230, gt=0, description="nominal AC voltage, volt")
    charger_classes: Annotated[dict[str, ChargerClass], NoDecode, BeforeValidator(parse_json)] = (
        Field(
            default_factory=dict,
            description="what is different for a class of chargers as JSON, e.g. "
            '{"household": {"good_from_percent": 76, "warning_from_percent": 70}}',
        )
    )
    link_by_trailing_number: bool = Field(
        default=True,
        description="guess that METER001 feeds VEH001 where neither was linked otherwise before; "
        "GET /v1/links/guessed lists the pairs",
    )

    @model_validator(mode="after")
    def _limits_in_order(self) -> Self:
        for name in (None, *self.charger_classes):
            warning, good, excellent, implausible = self.status_limits(name)
            if not implausible <= warning <= good <= excellent:
                of_class = f" of charger class {name!r}" if name else ""
                raise ValueError(
                    "limits must rise: IMPLAUSIBLE_BELOW_PERCENT, WARNING_FROM_PERCENT, "
                    f"GOOD_FROM_PERCENT, EXCELLENT_ABOVE_PERCENT{of_class}"
                )
        return self

    def status_limits(self, charger_class: str | None) -> tuple[float, float, float, float]:
        """Return warning_from, good_from, excellent_above and implausible_below in percent.

        A class without a limit of its own has that of all; so has a class nobody described.
        """
        of_class = self.charger_classes.get(charger_class or "", _AS_ALL)
        return (
            _first(of_class.warning_from_percent, self.warning_from_percent),
            _first(of_class.good_from_percent, self.good_from_percent),
            _first(of_class.excellent_above_percent, self.excellent_above_percent),
            _first(of_class.implausible_below_percent, self.implausible_below_percent),
        )


def _first(own: float | None, of_all: float) -> float:
    return of_all if own is None else own
