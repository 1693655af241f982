"""Settings of the pipelines."""

import sys
from datetime import date
from importlib.util import find_spec
from typing import Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lake import EnergySettings, LakeSettings
from lake.time_zones import time_zone
from warehouse_sql.settings import settings_fault


class PipelineSettings(BaseSettings):
    """Settings from the environment and `.env`; each name in capitals is the variable."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # the URL of a webhook is a secret
    )

    partitions_start: date | None = Field(
        default=None,
        description="first UTC day that is computed; empty: a year before the installation, or "
        "where older data begins",
    )
    sensor_interval_seconds: int = Field(
        default=30, ge=1, description="least time between two looks at the ledger"
    )
    hour_grace_seconds: float = Field(
        default=120, ge=0, description="an hour is closed this long after its end"
    )
    refine_pause_seconds: float = Field(
        default=600,
        ge=0,
        description="a computed hour waits at least this long before it is computed again with a "
        "reading that it lacked, and an older one as long as it is old",
    )
    refine_hours: int = Field(
        default=24,
        ge=1,
        description="so long an hour waits for readings that it lacked: those of slow devices",
    )
    hours_per_run: int = Field(
        default=720,
        ge=1,
        description="most hours that one run computes; a longer range is split, and one of many "
        "heartbeats earlier",
    )
    rows_per_run: int = Field(
        default=5_000_000,
        ge=1,
        description="most heartbeats of hours that one run computes: until it leaves a table, the "
        "newest hour can't write it. With ENGINE=ray about so many for each worker",
    )
    engine: Literal["local", "ray"] = Field(
        default="local",
        description="where the hours of a backfill, and those of verify, are computed: local, in "
        "the process that asks for them; ray, on the workers of a Ray cluster, for which Wattlake "
        "is installed with the extra `ray`",
    )
    ray_address: str = Field(
        default="",
        pattern=r"^((ray://)?[^/:]+:[0-9]+)?$",
        description="head of the Ray cluster: host:port where this process runs on a node of it, "
        "else ray://host:port; ENGINE=ray needs it",
    )
    archive_after_days: int = Field(
        default=3, ge=1, description="the small files of a day become one after so many days"
    )
    raw_retention_days: int | None = Field(
        default=None,
        ge=1,
        description="raw heartbeats of older hours are dropped once the history has them; "
        "empty: kept for ever",
    )
    mart_retention_days: int = Field(
        default=35,
        ge=1,
        le=36_500,
        description="the tables in Postgres hold the hours, days and sessions of so many days; the "
        "lake holds all",
    )
    run_retention_days: int = Field(
        default=90,
        ge=1,
        le=36_500,
        description="Dagster's runs are kept for so many days, the newest of each partition for "
        "ever",
    )
    uncovered_vehicles_percent: float = Field(
        default=5,
        ge=0,
        le=100,
        description="a check warns when more of the linked vehicles than this have less than 90 % "
        "of an hour covered by heartbeats",
    )
    report_time_zone: str = Field(
        default="UTC",
        description="time zone of the days, weeks and months of the fleet's reports, and of the "
        "depots that have none",
    )
    report_versions: int = Field(
        default=10,
        ge=1,
        description="of each report so many newest versions are kept, and the first",
    )
    public_url: str = Field(
        default="",
        pattern=r"^(https?://.+[^/])?$",
        description="URL of the collector's pages as people reach them, for the links of reports; "
        "empty: links lead from the collector's own pages only",
    )
    run_failure_webhook: str = Field(
        default="",
        pattern=r"^(https?://.+)?$",
        description="URL that is sent every failed run as JSON; none: nobody is told",
    )
    dagster_url: str = Field(
        default="",
        pattern=r"^(https?://.+)?$",
        description="URL of Dagster's pages, for links in what the webhook is sent; none: no links",
    )

    @field_validator("report_time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        time_zone(name)
        return name

    @model_validator(mode="after")
    def _has_its_engine(self) -> Self:
        if self.engine == "ray" and find_spec("ray") is None:
            raise ValueError(
                "ENGINE=ray needs Ray: run pip install '.[ray]' in a clone of Wattlake"
            )
        if self.engine == "ray" and not self.ray_address:
            raise ValueError("ENGINE=ray needs RAY_ADDRESS, the head of a Ray cluster")
        return self


def main() -> int:
    """Say in one line what is wrong with the settings, before Dagster says it in many."""
    try:
        for package in (PipelineSettings, LakeSettings, EnergySettings):
            package()
    except ValidationError as error:
        print(settings_fault(error), file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
