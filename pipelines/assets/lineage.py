"""Column lineage of the tables, down to what the devices sent."""

from collections.abc import Mapping, Sequence

import dagster as dg

from lake import METER, VEHICLE, Stream
from lake.schema import (
    CHARGER_EFFICIENCY_HOURLY,
    FACT_COLUMNS,
    VEHICLE_EFFICIENCY_HOURLY,
    TableSpec,
)

Sources = Mapping[str, Sequence[tuple[str, str]]]
"""For each column the (asset, column) pairs that it is computed from."""

_METER, _VEHICLE = METER.history_table, VEHICLE.history_table
_CHARGER_HOURS = CHARGER_EFFICIENCY_HOURLY.name
_LINKED, _DEVICES, _TARIFFS = "charging_links", "device_registry", "tariffs"
# The class of a charger says what its readings can mean.
_CLASS = (_DEVICES, "charger_class")
_AC_ENERGY = [*((_METER, name) for name in (METER.energy, "reading_type", "timestamp")), _CLASS]
_DC_ENERGY = [(_VEHICLE, name) for name in (VEHICLE.energy, "reading_type", "timestamp")]
_TEMPERATURE = [(_VEHICLE, "battery_temp")]
_LINKS = [
    *((_LINKED, name) for name in ("meter_id", "vehicle_id", "valid_from", "valid_to")),
    *((_VEHICLE, "meter_id"), (_METER, "meter_id"), (_VEHICLE, "vehicle_id")),
]
_BOTH = [*_AC_ENERGY, *_DC_ENERGY, *_LINKS]
_TIMES = [(_METER, "timestamp"), (_VEHICLE, "timestamp"), *_LINKS]


def _facts(
    of_side: Mapping[str, Sequence[tuple[str, str]]], times: Mapping[str, Sequence[tuple[str, str]]]
) -> Sources:
    """Lineage of FACT_COLUMNS: what is matched from both sides, the rest from its own."""
    found: dict[str, Sequence[tuple[str, str]]] = {}
    for name in (column.name for column in FACT_COLUMNS):
        side = "ac" if "_ac" in name else "dc"
        if name.startswith(("first", "last", "inner_gap")):
            found[name] = times[side]
        elif name.startswith(("matched", "unmatched", "gross")):
            found[name] = _BOTH
        else:
            found[name] = of_side[side]
    return found


VEHICLE_SOURCES: Sources = {
    "hour_start": [(_METER, "timestamp"), (_VEHICLE, "timestamp")],
    "vehicle_id": _LINKS,
    "energy_ac_kwh": [*_AC_ENERGY, *_LINKS],
    "energy_dc_kwh": _DC_ENERGY,
    "loss_kwh": _BOTH,
    "efficiency_percent": _BOTH,
    "status": _BOTH,
    "reason": _BOTH,
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
    **dict.fromkeys(
        ("average_battery_temp", "battery_temp_sum", "battery_temp_count"), _TEMPERATURE
    ),
    "link_source": _LINKS,
    "meter_ids": _LINKS,
    **_facts(
        {"ac": [*_AC_ENERGY, *_LINKS], "dc": _DC_ENERGY},
        {"ac": [(_METER, "timestamp"), *_LINKS], "dc": [(_VEHICLE, "timestamp")]},
    ),
}

_OF_CHARGERS = {
    "meter_id": [(_METER, "meter_id")],
    "energy_ac_kwh": _AC_ENERGY,
    "unlinked_energy_ac_kwh": [*_AC_ENERGY, *_LINKS],
    "energy_dc_kwh": _BOTH,
    "coverage_ac": _AC_ENERGY,
    "coverage_dc": [*_DC_ENERGY, *_LINKS],
    "longest_gap_seconds": [(_METER, "timestamp")],
    "data_points_meter": [(_METER, "timestamp")],
    "data_points_vehicle": [(_VEHICLE, "timestamp"), *_LINKS],
    "charger_class": [(_METER, "meter_id"), _CLASS],
    "vehicle_ids": _LINKS,
    "unlinked_known_ac_seconds": [*_AC_ENERGY, *_LINKS],
    **_facts(
        {"ac": [*_AC_ENERGY, *_LINKS], "dc": [*_DC_ENERGY, *_LINKS]},
        {"ac": [(_METER, "timestamp")], "dc": [(_VEHICLE, "timestamp"), *_LINKS]},
    ),
}
CHARGER_SOURCES: Sources = {
    column: _OF_CHARGERS.get(column) or VEHICLE_SOURCES[column]
    for column in CHARGER_EFFICIENCY_HOURLY.names
}


def grid_sources(table: TableSpec) -> Sources:
    """Lineage of the grid's health: from the voltages and the times of their readings."""
    keys = {"meter_id": [(_METER, "meter_id")], "hour_start": [(_METER, "timestamp")]}
    voltages = [(_METER, "voltage"), (_METER, "timestamp"), _CLASS]
    return {name: keys.get(name, voltages) for name in table.names}


def completeness_sources(table: TableSpec) -> Sources:
    """Lineage of the counts of completeness: from ids and times of heartbeats, and cadences."""
    heard = [(_METER, "meter_id"), (_VEHICLE, "vehicle_id")]
    heard += [(_METER, "timestamp"), (_VEHICLE, "timestamp"), (_DEVICES, "retired_at")]
    # Series are told apart by what they measure.
    series = [*_AC_ENERGY, *_DC_ENERGY, (_METER, "phase")]
    declared = [(stream, "interval_seconds") for stream in (_METER, _VEHICLE)]
    cadence = list(dict.fromkeys([*heard, *series, *declared]))
    others = {
        "heartbeats_expected": cadence,
        "completeness_percent": cadence,
        "devices_silent": cadence,
        "silent_devices": cadence,
        "devices_late": cadence,
        "duplicates": [(_METER, "duplicates"), (_VEHICLE, "duplicates")],
        "last_received_at": [
            (history, name)
            for history in (_METER, _VEHICLE)
            for name in ("timestamp", "received_after_us")
        ],
    }
    return {name: others.get(name, heard) for name in table.names}


def stretch_sources(table: TableSpec) -> Sources:
    """Lineage of stretches: facts as those of vehicles, bounds from energies, links and soc."""
    bounds = [*_BOTH, (_VEHICLE, "soc")]
    soc = [(_VEHICLE, "soc"), (_VEHICLE, "timestamp")]
    others: dict[str, Sequence[tuple[str, str]]] = {
        **dict.fromkeys(("soc_from", "soc_to"), soc),
        **dict.fromkeys(("battery_temp_min", "battery_temp_max"), _TEMPERATURE),
        "peak_power_ac_kw": [*_AC_ENERGY, *_LINKS],
        "peak_power_dc_kw": _DC_ENERGY,
    }
    return {name: others.get(name) or VEHICLE_SOURCES.get(name, bounds) for name in table.names}


def session_sources(sessions: TableSpec, stretches: TableSpec) -> Sources:
    """Lineage of sessions: the merged facts of their stretches."""
    facts = ["energy_ac_kwh", "energy_dc_kwh", *(column.name for column in FACT_COLUMNS)]
    bounds = ["begins", "ends", "evidence", "silent_since", "meter_ids"]
    judged = [*facts, "link_source", "charger_class"]
    others = {
        **{name: ["matched_energy_ac_kwh", "matched_energy_dc_kwh"] for name in _OF_RATIO},
        **dict.fromkeys(("status", "reason"), judged),
        "coverage_ac": ["known_ac_seconds", *bounds],
        "coverage_dc": ["known_dc_seconds", *bounds],
        "mean_power_ac_kw": ["energy_ac_kwh", "charging_seconds"],
        "mean_power_dc_kw": ["energy_dc_kwh", "charging_seconds"],
        "energy_ac_by_hour_kwh": ["energy_ac_kwh", "hour_start"],
        "average_battery_temp": ["battery_temp_sum", "battery_temp_count"],
        "longest_gap_seconds": [name for name in facts if name.startswith(_OF_GAPS)],
    }
    found = dict(_cost_sources(stretches))
    for name in sessions.names:
        if name in found:
            continue
        own = [name] if name in stretches.names else bounds
        found[name] = [(stretches.name, column) for column in others.get(name, own)]
    return found


def loss_sources(losses: TableSpec, sessions: TableSpec) -> Sources:
    """Lineage of excess losses: the session's own figures, and those that all are compared by."""
    compared = [*_COMPARED, "charger_class"]
    others = {
        "meter_id": ["meter_ids"],
        "ends": ["ends", "plugged_to"],
        "date": ["ends", "plugged_to"],
        "expected_efficiency_percent": compared,
        "excess_loss_kwh": compared,
        "excess_cost": [*compared, "cost_of_energy", "energy_ac_kwh"],
    }
    return {
        name: [(sessions.name, column) for column in others.get(name, [name])]
        for name in losses.names
    }


def condition_sources(days: TableSpec, sessions: TableSpec) -> Sources:
    """Lineage of trends and anomalies: the sessions of a year, of all devices together."""
    of_all = ["vehicle_id", "meter_ids", "begins", *_COMPARED, "charger_class", "coverage_ac"]
    of_all += ["coverage_dc", "energy_ac_kwh", "energy_dc_kwh", "peak_power_ac_kw"]
    others = {"date": ["begins", "ends"], "device_id": ["vehicle_id", "meter_ids"]}
    others |= {"share_linked_by_rule": ["link_source"], "median_power_kw": ["mean_power_ac_kw"]}
    return {
        name: [(sessions.name, column) for column in others.get(name, of_all)]
        for name in days.names
    }


def visit_sources(visits: TableSpec, anomalies: TableSpec) -> Sources:
    """Lineage of the list: the anomalies of the day; people's decisions are no asset."""
    money = {
        "at_stake_a_year": ["at_stake_kwh_a_year"],
        "mending_saves_a_year": ["mending_saves_kwh_a_year"],
        "currency": ["device_id"],
    }
    state = ["date", "device_kind", "device_id", "kind", "confidence", "size_percent"]
    return {
        name: [
            (anomalies.name, column)
            for column in money.get(name, [name] if name in anomalies.names else state)
        ]
        for name in visits.names
    }


_COMPARED = (
    "matched_energy_ac_kwh",
    "efficiency_percent",
    "mean_power_ac_kw",
    "average_battery_temp",
)


def fleet_sources(
    vehicles: TableSpec, chargers: TableSpec, fleet: TableSpec, others: Sources | None = None
) -> Sources:
    """Lineage of a fleet's figures: from those of its devices, and `others` from elsewhere."""
    rated = ["matched_energy_ac_kwh", "matched_energy_dc_kwh", "status"]
    needed = {
        "energy_ac_kwh": ["energy_ac_kwh", "status"],
        "energy_dc_kwh": ["energy_dc_kwh", "status"],
        "rated_energy_ac_kwh": ["matched_energy_ac_kwh", "status"],
        "rated_energy_dc_kwh": ["matched_energy_dc_kwh", "status"],
        "loss_kwh": rated,
        "efficiency_percent": rated,
        "vehicles": ["vehicle_id"],
        fleet.time_column: [vehicles.time_column],
    }
    found = {
        name: [(vehicles.name, column) for column in needed.get(name, ["status"])]
        for name in fleet.names
    }
    unlinked = "unlinked_energy_ac_kwh"
    return {**found, unlinked: [(chargers.name, unlinked)], **(others or {})}


_OF_RATIO = ("loss_kwh", "efficiency_percent")
_OF_GAPS = ("first_", "last_", "inner_gap_")
_MATCHED = ["matched_energy_ac_kwh", "matched_energy_dc_kwh"]
# What a day has from other columns of its hours than the one of the same name.
_MERGED = {
    "date": ["hour_start"],
    "hours": ["hour_start"],
    "loss_kwh": _MATCHED,
    "efficiency_percent": _MATCHED,
    "matched_share_ac": ["gross_energy_ac_kwh", "gross_matched_energy_ac_kwh"],
    "matched_share_dc": ["gross_energy_dc_kwh", "gross_matched_energy_dc_kwh"],
    "coverage_dc": ["known_dc_seconds"],
    "average_battery_temp": ["battery_temp_sum", "battery_temp_count"],
}


def daily_sources(days: TableSpec, hours: TableSpec) -> Sources:
    """Lineage of a day: the merged facts of its hours."""
    facts = [column.name for column in FACT_COLUMNS]
    linked = "link_source" if "link_source" in hours.names else "vehicle_ids"
    gaps = [f"{name}_{side}" for side in ("ac", "dc") for name in ("first", "last")]
    gaps += ["inner_gap_ac_seconds", "inner_gap_dc_seconds"]
    judged = [linked, "charger_class", "energy_ac_kwh", "energy_dc_kwh", *facts]
    known = ["known_ac_seconds", "unlinked_known_ac_seconds"]
    of_hours = {
        **{name: [name] for name in days.names},
        **_MERGED,
        "coverage_ac": [name for name in known if name in hours.names],
        "longest_gap_seconds": gaps,
        **dict.fromkeys(("inner_gap_ac_seconds", "inner_gap_dc_seconds"), gaps),
        **dict.fromkeys(("status", "reason"), judged),
    }
    costs = _cost_sources(hours)
    return {
        name: costs.get(name) or [(hours.name, column) for column in of_hours[name]]
        for name in days.names
    }


def fleet_cost_sources() -> Sources:
    """Lineage of the costs of the fleet's days: the hours of vehicles, and what nobody got."""
    nobody = [(_CHARGER_HOURS, name) for name in ("unlinked_energy_ac_kwh", "meter_id")]
    of_vehicles = _cost_sources(VEHICLE_EFFICIENCY_HOURLY)
    return {
        name: [*deps, *(dep for dep in nobody if dep not in deps and name != "cost_of_losses")]
        for name, deps in of_vehicles.items()
    }


def _cost_sources(hours: TableSpec) -> Sources:
    """The energies of hours, and the meters whose tariffs they have."""
    at, charger = (hours.name, "hour_start"), [(_CHARGER_HOURS, "energy_ac_kwh")]
    named = [(_DEVICES, "tariff"), (_TARIFFS, "currency")]
    if "meter_ids" in hours.names:
        tariff = [(hours.name, "meter_ids"), *charger, *named]
    else:
        tariff = [(hours.name, "meter_id"), *named]
    rated = [(hours.name, name) for name in (*_MATCHED, "status") if name in hours.names]
    price = (_TARIFFS, "price_per_kwh")
    return {
        "cost_of_energy": [(hours.name, "energy_ac_kwh"), at, *tariff, price],
        "cost_of_losses": [*rated, at, *tariff, price],
        "currency": tariff,
    }


def battery_sources(days: TableSpec) -> Sources:
    """Lineage of a battery's day: from the vehicle's heartbeats, its energy from the hours."""
    hourly = VEHICLE_EFFICIENCY_HOURLY.name
    found: dict[str, list[tuple[str, str]]] = {}
    for name in days.names:
        value = "soc" if name.startswith("soc") else "battery_temp"
        found[name] = [(_VEHICLE, value), (_VEHICLE, "timestamp")]
    others = {
        "vehicle_id": [(_VEHICLE, "vehicle_id")],
        "date": [(_VEHICLE, "timestamp")],
        "readings": [(_VEHICLE, "timestamp")],
        "energy_dc_kwh": [(hourly, "energy_dc_kwh")],
    }
    return {**found, **others}


def same_columns(table: TableSpec, source: str) -> Sources:
    """Lineage of each column from the one of the same name."""
    return {name: [(source, name)] for name in table.names}


def history_sources(history: TableSpec, stream: Stream) -> Sources:
    """Lineage of a history: from the raw table; what it adds comes from the receipt."""
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
