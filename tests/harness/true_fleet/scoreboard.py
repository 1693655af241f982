"""The lake's hourly tables beside the truth."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import polars as pl

from lake.energy import RATED
from lake.rollups import tables_of_hours
from lake.schema import VEHICLE_EFFICIENCY_HOURLY
from tests.harness.true_fleet.fleet import TrueFleet

HEALTHY_FROM: Final = (
    85.0  # percent; an hour that is truly better is neither a warning nor critical
)
BAD_BELOW: Final = 80.0
_HOURS_AT_ONCE: Final = 12


@dataclass(frozen=True)
class Score:
    """Figures of some vehicle hours; None where there is nothing to judge.

    Charging hours have energy; hours are whole if their energies follow from what was sent.
    """

    name: str
    hours: int
    charging: int
    rated: float | None
    """Share of the charging hours that are rated."""

    rated_of_whole: float | None
    """The same of those that are whole."""

    error_median: float | None
    """Of the efficiency of rated hours, percentage points."""

    error_p99: float | None
    healthy: int
    """Hours of healthy vehicles, charging or not."""

    false_alarms: int
    """Those of them that are `warning` or `critical`."""

    bad: int
    """Whole hours with a true efficiency under BAD_BELOW."""

    missed: float | None
    """Share of them that are not `critical`."""

    energy_ac: float | None
    """Relative error of the sum of all hours."""

    energy_dc: float | None
    unrated_as: str
    """The commonest status of charging hours that are not rated, and its share of them."""


def judged_hours(fleet: TrueFleet) -> pl.DataFrame:
    """The rows of `TrueFleet.truth` with what the hourly table says of them.

    `energy_ac_kwh`, `energy_dc_kwh`, `efficiency_percent`, `status`; null where it has no row.
    """
    settings = fleet.settings()
    found = []
    for first in range(0, len(fleet.starts), _HOURS_AT_ONCE):
        hours = [fleet.inputs(start) for start in fleet.starts[first : first + _HOURS_AT_ONCE]]
        for tables in tables_of_hours(hours, settings):
            found.append(
                tables[VEHICLE_EFFICIENCY_HOURLY.name].select(
                    "vehicle_id",
                    "hour_start",
                    "energy_ac_kwh",
                    "energy_dc_kwh",
                    "efficiency_percent",
                    "status",
                )
            )
    rows = fleet.truth().join(pl.concat(found), on=["vehicle_id", "hour_start"], how="left")
    return rows.with_columns(pl.col("status").fill_null("no row"))


def scores(judged: pl.DataFrame) -> Iterator[Score]:
    """Score of each kind in their order, and of all together."""
    for (name,), rows in judged.group_by("kind", maintain_order=True):
        yield score(str(name), rows)
    yield score("all", judged)


def score(name: str, rows: pl.DataFrame) -> Score:
    """Score of rows of `judged_hours`."""
    is_rated, is_charging = pl.col("status").is_in(RATED), pl.col("is_charging")
    error = (pl.col("efficiency_percent") - pl.col("true_efficiency")).abs().filter(is_rated)
    is_healthy = pl.col("is_healthy") & (pl.col("true_efficiency") >= HEALTHY_FROM)
    is_alarm = pl.col("status").is_in(["warning", "critical"])
    is_bad = is_charging & pl.col("is_whole") & (pl.col("true_efficiency") < BAD_BELOW)
    energies = {
        f"energy_{side}": pl.sum(f"energy_{side}_kwh") / pl.sum(f"true_{side}_kwh") - 1
        for side in ("ac", "dc")
    }
    figures = rows.select(
        hours=pl.len(),
        charging=is_charging.sum(),
        rated=is_rated.filter(is_charging).mean(),
        rated_of_whole=is_rated.filter(is_charging & pl.col("is_whole")).mean(),
        error_median=error.median(),
        error_p99=error.quantile(0.99),
        healthy=is_healthy.sum(),
        false_alarms=(is_healthy & is_alarm).sum(),
        bad=is_bad.sum(),
        missed=(pl.col("status") != "critical").filter(is_bad).mean(),
        **energies,
    ).row(0, named=True)
    unrated = rows.filter(is_charging, ~is_rated)["status"].value_counts(sort=True)
    unrated_as = ""
    if unrated.height:
        unrated_as = f"{unrated['status'][0]} {unrated['count'][0] / unrated['count'].sum():.0%}"
    return Score(name=name, unrated_as=unrated_as, **figures)
