"""From which columns the figures of a table come, down to what the devices sent."""

from collections.abc import Mapping, Sequence

import dagster as dg

from lake import METER, VEHICLE, Stream
from lake.derived import VEHICLE_EFFICIENCY_HOURLY
from lake.table_spec import TableSpec

Sources = Mapping[str, Sequence[tuple[str, str]]]
"""For each column the (asset, column) pairs that it is computed from."""

_METER, _VEHICLE = METER.history_table, VEHICLE.history_table
_AC_ENERGY = [(_METER, name) for name in (METER.energy, "reading_type", "timestamp")]
_DC_ENERGY = [(_VEHICLE, name) for name in (VEHICLE.energy, "reading_type", "timestamp")]
_LINKS = [(_VEHICLE, "meter_id"), (_METER, "meter_id"), (_VEHICLE, "vehicle_id")]
_BOTH = [*_AC_ENERGY, *_DC_ENERGY, *_LINKS]
_TIMES = [(_METER, "timestamp"), (_VEHICLE, "timestamp"), *_LINKS]

VEHICLE_SOURCES: Sources = {
    "hour_start": [(_METER, "timestamp"), (_VEHICLE, "timestamp")],
    "vehicle_id": _LINKS,
    "energy_ac_kwh": [*_AC_ENERGY, *_LINKS],
    "energy_dc_kwh": _DC_ENERGY,
    "loss_kwh": _BOTH,
    "efficiency_percent": _BOTH,
    "status": _BOTH,
    # The class itself is from the registry of devices, which is no asset.
    "charger_class": [*_AC_ENERGY, *_LINKS],
    "data_points_meter": [(_METER, "timestamp"), *_LINKS],
    "data_points_vehicle": [(_VEHICLE, "timestamp")],
    "coverage_ac": [*_AC_ENERGY, *_LINKS],
    "coverage_dc": _DC_ENERGY,
    "matched_share_ac": _BOTH,
    "matched_share_dc": _BOTH,
    "longest_gap_seconds": _TIMES,
    "resets": [*_AC_ENERGY, *_DC_ENERGY, *_LINKS],
    "duplicates": [(_METER, "duplicates"), (_VEHICLE, "duplicates"), *_LINKS],
    "average_battery_temp": [(_VEHICLE, "battery_temp")],
    "link_source": _LINKS,
    "meter_ids": _LINKS,
}


UNLINKED: Sources = {"unlinked_energy_ac_kwh": [*_AC_ENERGY, *_LINKS]}


def fleet_sources(vehicles: TableSpec, fleet: TableSpec, others: Sources = UNLINKED) -> Sources:
    """A fleet's figures from those of its vehicles, and `others` from elsewhere."""
    rated = ["energy_ac_kwh", "energy_dc_kwh", "status"]
    needed = {
        "energy_ac_kwh": ["energy_ac_kwh", "status"],
        "energy_dc_kwh": ["energy_dc_kwh", "status"],
        "rated_energy_ac_kwh": ["energy_ac_kwh", "status"],
        "rated_energy_dc_kwh": ["energy_dc_kwh", "status"],
        "loss_kwh": rated,
        "efficiency_percent": rated,
        "vehicles": ["vehicle_id"],
        fleet.time_column: [vehicles.time_column],
    }
    found = {
        name: [(vehicles.name, column) for column in needed.get(name, ["status"])]
        for name in fleet.names
    }
    return {**found, **others}


def daily_vehicle_sources(days: TableSpec) -> Sources:
    """A vehicle's day from its hours; ratios and status are those of the sums, not of the hours."""
    energies = ["energy_ac_kwh", "energy_dc_kwh"]
    shares = ["matched_share_ac", "matched_share_dc"]
    needed = {
        "date": ["hour_start"],
        "hours": ["hour_start"],
        "loss_kwh": energies,
        "efficiency_percent": energies,
        "status": [*energies, *shares, "link_source", "charger_class"],
        "charger_class": ["charger_class", "energy_ac_kwh"],
        "matched_share_ac": ["matched_share_ac", "energy_ac_kwh"],
        "matched_share_dc": ["matched_share_dc", "energy_dc_kwh"],
        "average_battery_temp": ["average_battery_temp", "data_points_vehicle"],
    }
    hourly = VEHICLE_EFFICIENCY_HOURLY.name
    return {name: [(hourly, column) for column in needed.get(name, [name])] for name in days.names}


def same_columns(table: TableSpec, source: str) -> Sources:
    """Every column from the one of the same name."""
    return {name: [(source, name)] for name in table.names}


def history_sources(history: TableSpec, stream: Stream) -> Sources:
    """A history's columns from those of the raw table; what it adds comes from the receipt."""
    received = {column.name for column in stream.columns}
    return {
        name: [(stream.raw_table, name if name in received else "received_at")]
        for name in history.names
    }


def lineage_metadata(sources: Sources) -> dict[str, object]:
    """Static metadata: the lineage as Dagster keeps it, and as a table that its pages show.

    Static, because it belongs to the code and not to each of 25,000 hours.
    """
    lineage = {
        column: [dg.TableColumnDep(dg.AssetKey(asset.split("/")), name) for asset, name in deps]
        for column, deps in sources.items()
    }
    lines = ["| column | comes from |", "| --- | --- |"]
    for column, deps in sources.items():
        origins: dict[str, list[str]] = {}
        for asset, name in deps:
            origins.setdefault(asset, []).append(f"`{name}`")
        shown = "; ".join(f"{asset}: {', '.join(names)}" for asset, names in origins.items())
        lines.append(f"| `{column}` | {shown} |")
    return {
        "dagster/column_lineage": dg.TableColumnLineage(lineage),
        "columns_come_from": dg.MetadataValue.md("\n".join(lines)),
    }
