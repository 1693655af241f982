"""Attributes of devices that people set, and what values they may have."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

CLEAR: Final = "none"  # the cell of a CSV that clears a value
DEPOT_PATTERN: Final = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_LONGEST_CADENCE: Final = 7 * 86_400
_EARLIEST, _LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _moment(value: Any) -> datetime:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        if moment.tzinfo is not None and _EARLIEST <= (utc := moment.astimezone(UTC)) < _LATEST:
            return utc
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{value!r} is no time with its zone, such as 2026-03-01T12:00:00Z")


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}; name one like Europe/Berlin") from None
    return name


def _text(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise ValueError("must be printable characters without a space at either end")
    if value == CLEAR:
        raise ValueError(f"must not be {CLEAR!r}, which clears a value in a CSV")
    return value


Text = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_text)]
Moment = Annotated[
    datetime, BeforeValidator(_moment, json_schema_input_type=Annotated[str, Field()])
]
Zone = Annotated[str, AfterValidator(_zone), Field(max_length=100)]
DepotId = Annotated[str, Field(pattern=DEPOT_PATTERN), AfterValidator(_text)]
Latitude = Annotated[float, Field(strict=True, ge=-90, le=90)]
Longitude = Annotated[float, Field(strict=True, ge=-180, le=180)]


class Place(BaseModel):
    """Time zone and location. A value that is not set stays as it is, null clears it."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
    )

    latitude: Latitude | None = Field(default=None, description="degrees north, WGS 84")
    longitude: Longitude | None = Field(default=None, description="degrees east, WGS 84")
    time_zone: Zone | None = Field(default=None, description="IANA name, as Europe/Berlin")

    @model_validator(mode="after")
    def _location_is_whole(self) -> Self:
        if len({"latitude", "longitude"} & self.model_fields_set) == 1 or (
            (self.latitude is None) != (self.longitude is None)
        ):
            raise ValueError("latitude and longitude come together")
        return self


class DeviceAttributes(Place):
    """Attributes of a device that people set."""

    charger_class: Text | None = Field(
        default=None,
        description="class of the charger that a meter measures, one of the setting "
        "CHARGER_CLASSES; it counts for all hours of the meter",
    )
    retired_at: Moment | None = Field(
        default=None, description="from then on no heartbeat is expected; ISO 8601 with a zone"
    )
    depot: DepotId | None = Field(default=None, description="id of the depot where it belongs")
    group: Text | None = Field(default=None, description="any name that several devices share")
    driver: Text | None = Field(default=None, description="who drives or keeps it")
    label: Text | None = Field(default=None, description="what people call it")
    cadence_seconds: float | None = Field(
        default=None,
        strict=True,
        gt=0,
        le=_LONGEST_CADENCE,
        description="how often it sends, seconds, at most 7 days",
    )


ATTRIBUTES: Final = (
    "charger_class",
    "retired_at",
    "depot",
    "group",
    "driver",
    "label",
    "latitude",
    "longitude",
    "time_zone",
    "cadence_seconds",
)


def charger_class_fault(
    stream: str, charger_class: str | None, classes: Collection[str]
) -> str | None:
    """Return what is wrong with the class of a device where these classes are described."""
    if charger_class is None:
        return None
    if stream != "meter":
        return "the class belongs to the charger, name it with its meter"
    if charger_class in classes:
        return None
    known = ", ".join(map(repr, sorted(classes))) or "it describes none"
    return (
        f"{charger_class!r} is not described in CHARGER_CLASSES ({known}); correct the name, or "
        "describe the class there, here and where Dagster and the collector run"
    )
