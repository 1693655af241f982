"""Rows of vehicle_efficiency_hourly for tests of what is added up from them."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow as pa

from lake.schema.table_spec import TableSpec
from lake.schema.vehicle_efficiency import VEHICLE_EFFICIENCY_HOURLY

DAY = datetime(2026, 11, 20, tzinfo=UTC)


def vehicle_hour(
    vehicle_id: str,
    *,
    hour: int = 0,
    ac: float | None,
    dc: float | None,
    status: str = "good",
    link: str | None = "link",
    share: float = 1.0,
    gap: float = 60.0,
    meters: tuple[str, ...] = ("METER001",),
    temperature: float | None = None,
    charger_class: str | None = None,
) -> dict[str, object]:
    """A row with 60 heartbeats and full coverage on both sides."""
    return {
        "hour_start": DAY + timedelta(hours=hour),
        "vehicle_id": vehicle_id,
        "energy_ac_kwh": ac,
        "energy_dc_kwh": dc,
        "loss_kwh": None if ac is None or dc is None else ac - dc,
        "efficiency_percent": None,
        "status": status,
        "charger_class": charger_class,
        "data_points_meter": 60,
        "data_points_vehicle": 60,
        "coverage_ac": 1.0,
        "coverage_dc": 1.0,
        "matched_share_ac": share,
        "matched_share_dc": share,
        "longest_gap_seconds": gap,
        "resets": 0,
        "duplicates": 1,
        "average_battery_temp": temperature,
        "link_source": link,
        "meter_ids": [] if link is None else list(meters),
    }


def no_rows(table: TableSpec) -> pl.DataFrame:
    """A derived table without a row."""
    schema = pa.schema([column.field() for column in table.columns])
    frame = pl.from_arrow(schema.empty_table())
    assert isinstance(frame, pl.DataFrame)
    return frame


def vehicle_hours(*rows: dict[str, object]) -> pl.LazyFrame:
    """Rows of vehicle_efficiency_hourly."""
    return pl.LazyFrame(list(rows), schema=no_rows(VEHICLE_EFFICIENCY_HOURLY).schema)
