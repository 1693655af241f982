"""Rows of the efficiency tables from facts, and facts from rows.

The tables have kWh with 9 decimals and seconds with 6, so both ways are exact.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from lake.energy.facts import Facts, SideFacts, WindowEnergy
from lake.energy.intervals import KWH, SECOND, Flags, Integers
from lake.energy.status import Limits, rate
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_HOURLY
from lake.schema.vehicle_efficiency import VEHICLE_EFFICIENCY_HOURLY
from lake.settings import EnergySettings

_TIME: Final = pl.Datetime("us", "UTC")
_DEGREE: Final = 1000
# Facts of a side by the name of their column, in kWh.
_ENERGIES: Final = {
    "matched": "matched_energy_{}_kwh",
    "unmatched": "unmatched_energy_{}_kwh",
    "gross": "gross_energy_{}_kwh",
    "gross_matched": "gross_matched_energy_{}_kwh",
    "unplaced": "unplaced_energy_{}_kwh",
    "left_out": "left_out_energy_{}_kwh",
    "conflicting": "conflicting_energy_{}_kwh",
}
_COUNTS: Final = {"left_out_count": "left_out_{}", "conflicts": "conflicts_{}"}
_DURATIONS: Final = {"known": "known_{}_seconds", "inner_gap": "inner_gap_{}_seconds"}
_MOMENTS: Final = {"first": "first_{}", "last": "last_{}"}
_DATA_POINTS: Final = {"ac": "data_points_meter", "dc": "data_points_vehicle"}


class Shown(NamedTuple):
    """A column of what is shown of facts."""

    values: npt.NDArray[Any] | list[str]
    is_null: Flags | None = None
    is_time: bool = False

    def series(self, name: str) -> pl.Series:
        """Return the column of a table."""
        kind: pa.DataType | None = None
        if isinstance(self.values, list):
            kind = pa.string()  # also of no rows
        if self.is_time:
            kind = pa.timestamp("us", "UTC")
        return pl.Series(name, pa.array(self.values, kind, mask=self.is_null))

    def at(self, row: int) -> Any:
        """Return one value of it."""
        if self.is_null is not None and self.is_null[row]:
            return None
        value = self.values[row]
        return value if isinstance(value, str) else value.item()


def vehicle_rows(
    facts: Facts,
    vehicles: pl.Series,
    links: pl.DataFrame,
    settings: EnergySettings,
) -> pl.DataFrame:
    """Return rows of VEHICLE_EFFICIENCY_HOURLY, without those of whom nothing is known.

    `links` has vehicle_id, link_source, meter_ids and charger_class of each linked vehicle.
    """
    about = vehicles.to_frame("vehicle_id").join(
        links, on="vehicle_id", how="left", maintain_order="left"
    )
    is_linked = about["link_source"].is_not_null().to_numpy()
    stays = known_vehicles(facts, is_linked)
    facts, about = facts.of(stays), about[stays]
    classes = about["charger_class"].to_list()
    shown = shown_of_vehicles(facts, is_linked[stays], classes, settings)
    return about.with_columns(
        *(column.series(name) for name, column in shown.items()),
        pl.col("meter_ids").fill_null([]),
    ).select(VEHICLE_EFFICIENCY_HOURLY.names)


def known_vehicles(facts: Facts, is_linked: Flags) -> Integers:
    """Return the numbers of the vehicles that have a row: linked, heard, or with energy."""
    says = (facts.dc.data_points > 0) | _is_known(facts.ac) | _is_known(facts.dc)
    return np.flatnonzero(is_linked | says)


def shown_of_vehicles(
    facts: Facts, is_linked: Flags, classes: list[str | None], settings: EnergySettings
) -> dict[str, Shown]:
    """Return the columns of VEHICLE_EFFICIENCY_HOURLY that follow from facts and classes."""
    gap = np.maximum(facts.longest_gap(facts.ac), facts.longest_gap(facts.dc))
    energy_ac = facts.ac.placed + facts.ac.unplaced
    return {
        "hour_start": Shown(facts.start, is_time=True),
        "energy_ac_kwh": Shown(energy_ac / KWH, ~_is_known(facts.ac)),
        "battery_temp_sum": Shown(facts.temperature_sum / _DEGREE),
        "battery_temp_count": Shown(facts.temperature_count),
        "average_battery_temp": Shown(
            np.round(_ratio(facts.temperature_sum, facts.temperature_count * _DEGREE), 9),
            facts.temperature_count == 0,
        ),
        **_shown(facts, gap, facts.ac.known, is_linked, classes, settings),
    }


def charger_rows(
    facts: Facts,
    unlinked: WindowEnergy,
    meters: pl.Series,
    links: pl.DataFrame,
    settings: EnergySettings,
) -> pl.DataFrame:
    """Return rows of CHARGER_EFFICIENCY_HOURLY, without those of whom nothing is known.

    `facts` are those of energy while linked, and of all the meter's heartbeats. `links` has
    meter_id, vehicle_ids (null: fed none) and charger_class.
    """
    about = meters.to_frame("meter_id").join(
        links, on="meter_id", how="left", maintain_order="left"
    )
    is_linked = about["vehicle_ids"].is_not_null().to_numpy()
    is_known = _is_known(facts.ac) | (unlinked.known > 0) | (unlinked.total != 0)
    stays = np.flatnonzero(is_linked | (facts.ac.data_points > 0) | is_known)
    facts, unlinked, about = facts.of(stays), unlinked.of(stays), about[stays]
    total = facts.ac.placed + facts.ac.unplaced + unlinked.total
    known = facts.ac.known + unlinked.known
    gap, classes = facts.longest_gap(facts.ac), about["charger_class"].to_list()
    shown = {
        "hour_start": Shown(facts.start, is_time=True),
        "energy_ac_kwh": Shown(total / KWH, ~is_known[stays]),
        "unlinked_energy_ac_kwh": Shown(unlinked.total / KWH),
        "unlinked_known_ac_seconds": Shown(unlinked.known / SECOND),
        **_shown(facts, gap, known, is_linked[stays], classes, settings),
    }
    return about.with_columns(
        *(column.series(name) for name, column in shown.items()),
        pl.col("vehicle_ids").fill_null([]),
    ).select(CHARGER_EFFICIENCY_HOURLY.names)


def facts_of_rows(rows: pl.DataFrame, start: Integers, end: Integers) -> Facts:
    """Return the facts of rows of either table; `start` and `end` are the windows of each."""

    def of_side(side: str) -> SideFacts:
        points = _DATA_POINTS[side]
        energies = {fact: _whole(rows[name.format(side)], KWH) for fact, name in _ENERGIES.items()}
        moments = {
            fact: rows[name.format(side)].to_physical().fill_null(0).to_numpy()
            for fact, name in _MOMENTS.items()
        }
        count = rows[points].to_numpy()
        of_both = side == "ac"  # two columns are of both sides
        nothing = np.zeros(rows.height, np.int64)
        linked = _whole(rows[f"energy_{side}_kwh"], KWH)
        if of_both and "unlinked_energy_ac_kwh" in rows.columns:
            linked -= _whole(rows["unlinked_energy_ac_kwh"], KWH)
        return SideFacts(
            placed=linked - energies["unplaced"],
            **energies,
            **{n: rows[name.format(side)].to_numpy() for n, name in _COUNTS.items()},
            **{n: _whole(rows[name.format(side)], SECOND) for n, name in _DURATIONS.items()},
            first=np.where(count > 0, moments["first"], end),
            last=np.where(count > 0, moments["last"], start),
            data_points=count,
            resets=rows["resets"].to_numpy() if of_both else nothing,
            duplicates=rows["duplicates"].to_numpy() if of_both else nothing,
        )

    temperature = np.zeros(rows.height, np.int64), np.zeros(rows.height, np.int64)
    if "battery_temp_sum" in rows.columns:
        temperature = _whole(rows["battery_temp_sum"], _DEGREE), _count(rows["battery_temp_count"])
    return Facts(start, end, of_side("ac"), of_side("dc"), *temperature)


def unlinked_of_rows(rows: pl.DataFrame) -> WindowEnergy:
    """Return the unlinked energy and known time of rows of chargers."""
    return WindowEnergy(
        _whole(rows["unlinked_energy_ac_kwh"], KWH),
        _whole(rows["unlinked_known_ac_seconds"], SECOND),
    )


def _is_known(side: SideFacts) -> Flags:
    known: Flags = (side.known > 0) | (side.placed != 0) | (side.unplaced != 0)
    return known


def _shown(
    facts: Facts,
    gap: Integers,
    known_ac: Integers,
    is_linked: Flags,
    classes: list[str | None],
    settings: EnergySettings,
) -> Mapping[str, Shown]:
    """What both tables have of the facts, and the rating that follows from them."""
    rating = rate(facts, is_linked, Limits.of_classes(classes, settings), settings)
    no_ratio = np.isnan(rating.percent)
    length = facts.end - facts.start
    ac, dc = facts.ac, facts.dc
    shown = {
        "energy_dc_kwh": Shown((dc.placed + dc.unplaced) / KWH, ~_is_known(dc)),
        "loss_kwh": Shown((ac.matched - dc.matched) / KWH, no_ratio),
        "efficiency_percent": Shown(rating.percent, no_ratio),
        "status": Shown(rating.status),
        "reason": Shown(rating.reason),
        "longest_gap_seconds": Shown(gap / SECOND),
        "resets": Shown(ac.resets + dc.resets),
        "duplicates": Shown(ac.duplicates + dc.duplicates),
        "coverage_ac": Shown(np.round(known_ac / length, 9)),
        "coverage_dc": Shown(np.round(dc.known / length, 9)),
    }
    for side, name in ((ac, "ac"), (dc, "dc")):
        silent = side.data_points == 0
        shown[_DATA_POINTS[name]] = Shown(side.data_points)
        shown[f"matched_share_{name}"] = Shown(
            _ratio(side.gross_matched, side.gross), side.gross <= 0
        )
        for fact, column in _ENERGIES.items():
            shown[column.format(name)] = Shown(getattr(side, fact) / KWH)
        for fact, column in _COUNTS.items():
            shown[column.format(name)] = Shown(getattr(side, fact))
        for fact, column in _DURATIONS.items():
            shown[column.format(name)] = Shown(getattr(side, fact) / SECOND)
        for fact, column in _MOMENTS.items():
            shown[column.format(name)] = Shown(getattr(side, fact), silent, is_time=True)
    return shown


def _ratio(part: Integers, whole: Integers) -> npt.NDArray[np.float64]:
    ratio: npt.NDArray[np.float64] = np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
    return ratio


def _count(column: pl.Series) -> Integers:
    count: Integers = column.to_numpy()
    return count


def _whole(column: pl.Series, unit: int) -> Integers:
    whole: Integers = np.rint(column.fill_null(0.0).to_numpy() * unit).astype(np.int64)
    return whole
