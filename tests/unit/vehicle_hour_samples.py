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
    matched_ac: float | None = None,
    matched_dc: float | None = None,
    status: str = "good",
    reason: str = "rated",
    link: str | None = "link",
    gap: float = 60.0,
    meters: tuple[str, ...] = ("METER001",),
    temperature: float | None = None,
    charger_class: str | None = None,
) -> dict[str, object]:
    """A row with 60 heartbeats and full coverage on both sides; all energy is matched unless told.

    `status` and `reason` are as told; what is merged from such rows is rated by its facts.
    """
    start = DAY + timedelta(hours=hour)
    row: dict[str, object] = {
        "hour_start": start,
        "vehicle_id": vehicle_id,
        "energy_ac_kwh": ac,
        "energy_dc_kwh": dc,
        "loss_kwh": None if ac is None or dc is None else ac - dc,
        "efficiency_percent": None,
        "status": status,
        "reason": reason,
        "charger_class": charger_class,
        "coverage_ac": 1.0,
        "coverage_dc": 1.0,
        "longest_gap_seconds": gap,
        "resets": 0,
        "duplicates": 1,
        "average_battery_temp": temperature,
        "battery_temp_sum": 0.0 if temperature is None else 60 * temperature,
        "battery_temp_count": 0 if temperature is None else 60,
        "link_source": link,
        "meter_ids": [] if link is None else list(meters),
    }
    for side, device, energy, told in (
        ("ac", "meter", ac, matched_ac),
        ("dc", "vehicle", dc, matched_dc),
    ):
        total = energy or 0.0
        matched = total if told is None else told
        row |= {
            f"data_points_{device}": 60,
            f"matched_share_{side}": matched / total if total else None,
            f"matched_energy_{side}_kwh": matched,
            f"unmatched_energy_{side}_kwh": total - matched,
            f"gross_energy_{side}_kwh": total,
            f"gross_matched_energy_{side}_kwh": matched,
            f"unplaced_energy_{side}_kwh": 0.0,
            f"left_out_energy_{side}_kwh": 0.0,
            f"left_out_{side}": 0,
            f"conflicts_{side}": 0,
            f"conflicting_energy_{side}_kwh": 0.0,
            f"known_{side}_seconds": 0.0 if energy is None else 3600.0,
            f"first_{side}": start,
            f"last_{side}": start + timedelta(minutes=59),
            f"inner_gap_{side}_seconds": gap,
        }
    return row


def no_rows(table: TableSpec) -> pl.DataFrame:
    """A derived table without a row."""
    schema = pa.schema([column.field() for column in table.columns])
    frame = pl.from_arrow(schema.empty_table())
    assert isinstance(frame, pl.DataFrame)
    return frame


def vehicle_hours(*rows: dict[str, object]) -> pl.LazyFrame:
    """Rows of vehicle_efficiency_hourly."""
    return pl.LazyFrame(list(rows), schema=no_rows(VEHICLE_EFFICIENCY_HOURLY).schema)
