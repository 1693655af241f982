"""How well the faults of a simulated year are found, week by week, and by two simple rules."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from lake.condition import find_anomalies, no_maintenance, update_maintenance
from lake.condition.maintenance import OPEN
from tests.harness.charging_year.faults import DRIFT
from tests.harness.charging_year.fleet import DAYS, YEAR_BEGINS, ChargingYear

FIRST_WEEK, WEEKS = 13, 52
FAULT_LINE: Final = 85.0
PRECISE: Final = 0.95
MATERIAL: Final = 0.03
_QUIET_WEEKS: Final = 4
_DEVICES: Final = {"meter": pl.col("meter_ids").list.first(), "vehicle": pl.col("vehicle_id")}
_KEY: Final = ["device_kind", "device_id"]
FLAGS: Final = {
    "device_kind": pl.String(),
    "device_id": pl.String(),
    "kind": pl.String(),
    "partner_id": pl.String(),
    "at": pl.Datetime("us", "UTC"),
}
"""Who is to be visited, since when; of a pair that can't be told apart also its other device."""


@dataclass(frozen=True)
class Score:
    """What a way of looking has found of a year."""

    name: str
    visits: int
    true_visits: int
    drifts: int
    drifts_found: int
    crossings: int
    crossings_warned: int
    """Drifts that cross 80 %, and those of them that were found 7 days before or earlier."""
    days_of_warning: float | None
    """Median of the drifts that cross and were found."""
    false_per_1000_device_months: float

    @property
    def precision(self) -> float | None:
        """The part of the visits that find a fault."""
        return self.true_visits / self.visits if self.visits else None

    @property
    def recall(self) -> float:
        """The part of the drifting devices, of those that have fallen by 3 %, that are found."""
        return self.drifts_found / self.drifts if self.drifts else 0.0


def weeks() -> Iterator[datetime]:
    """Iterate over the ends of the weeks that are looked at."""
    return (YEAR_BEGINS + timedelta(weeks=week) for week in range(FIRST_WEEK, WEEKS + 1))


def listed_flags(year: ChargingYear) -> pl.DataFrame:
    """Return FLAGS of the maintenance list, kept from week to week."""
    listed = no_maintenance()
    opened = []
    for at in weeks():
        listed = update_maintenance(listed, find_anomalies(year.sessions, at), at)
        opened.append(
            listed.filter((pl.col("state") == OPEN) & (pl.col("opened_at") == at)).select(
                *_KEY,
                "kind",
                partner_id=pl.when(pl.col("may_be_kind").is_not_null()).then("partner_id"),
                at="opened_at",
            )
        )
    return pl.concat([pl.DataFrame(schema=FLAGS), *opened])


def line_flags(year: ChargingYear, line: float = FAULT_LINE) -> pl.DataFrame:
    """Return FLAGS of devices with a week below a line, percent."""
    return _visits(_weekly(year).filter(pl.col("efficiency") < line), year)


def sigma_flags(year: ChargingYear) -> pl.DataFrame:
    """Return FLAGS of devices with a week three standard deviations below their first weeks."""
    weekly = _weekly(year, first=0)
    usual = (
        weekly.filter(pl.col("week") < FIRST_WEEK - 1)
        .group_by(_KEY)
        .agg(mean=pl.col("efficiency").mean(), deviation=pl.col("efficiency").std())
    )
    low = weekly.join(usual, on=_KEY).filter(
        (pl.col("week") >= FIRST_WEEK - 1)
        & (pl.col("efficiency") < pl.col("mean") - 3 * pl.col("deviation"))
    )
    return _visits(low, year)


def precise_line(year: ChargingYear) -> tuple[float, pl.DataFrame]:
    """Return the highest line with a precision of 95 %, and its FLAGS; that of 50 % without one."""
    for line in range(round(FAULT_LINE), 50, -1):
        flags = line_flags(year, line)
        precision = score("", year, flags).precision
        if precision is not None and precision >= PRECISE:
            return line, flags
    return 50.0, line_flags(year, 50.0)


def score(name: str, year: ChargingYear, flags: pl.DataFrame) -> Score:
    """Hold flags to the truth: a visit is true if the device has a fault that has begun by then."""
    pairs = pl.concat(
        [
            flags.select(pl.int_range(pl.len()).alias("visit"), column.alias("device_id"), "at")
            for column in (pl.col("device_id"), pl.col("partner_id"))
        ]
    ).drop_nulls()
    met = pairs.join(year.truth, on="device_id").filter(pl.col("begins") <= pl.col("at"))
    drifts = year.truth.filter((pl.col("kind") == DRIFT) & (pl.col("fall") >= MATERIAL))
    found = drifts.join(met.group_by("device_id").agg(pl.col("at").min()), on="device_id")
    crossings = drifts.filter(pl.col("crosses").is_not_null())
    warned = found.filter(pl.col("crosses").is_not_null()).select(
        days=(pl.col("crosses") - pl.col("at")).dt.total_seconds() / 86_400
    )["days"]
    true = met["visit"].n_unique()
    months = year.devices * (WEEKS - FIRST_WEEK + 1) * 7 / (DAYS / 12)
    median = warned.median()
    return Score(
        name,
        visits=flags.height,
        true_visits=true,
        drifts=drifts.height,
        drifts_found=found.height,
        crossings=crossings.height,
        crossings_warned=int((warned >= 7).sum()),
        days_of_warning=median if isinstance(median, float) else None,
        false_per_1000_device_months=1000 * (flags.height - true) / months,
    )


def found_by_kind(year: ChargingYear, flags: pl.DataFrame) -> pl.DataFrame:
    """Return for each kind of fault: `faults` of the year, `found`, and `named` as what they are.

    Faults of the last 8 weeks, and losses of less than 3 %, are left out.
    """
    last = YEAR_BEGINS + timedelta(weeks=WEEKS - 8)
    counted = year.truth.filter(
        (pl.col("begins") < last) & (pl.col("fall").is_null() | (pl.col("fall") >= MATERIAL))
    )
    seen = pl.concat(
        [
            flags.select(column.alias("device_id"), "at", told="kind")
            for column in (pl.col("device_id"), pl.col("partner_id"))
        ]
    ).drop_nulls()
    first = (
        counted.join(seen, on="device_id")
        .filter(pl.col("at") >= pl.col("begins"))
        .sort("at")
        .unique(["device_id"], keep="first", maintain_order=True)
    )
    return (
        counted.join(first.select("device_id", "told", "at"), on="device_id", how="left")
        .group_by("kind")
        .agg(
            faults=pl.len(),
            found=pl.col("told").is_not_null().sum(),
            named=(pl.col("told") == pl.col("kind")).sum(),
            median_days=((pl.col("at") - pl.col("begins")).dt.total_seconds() / 86_400).median(),
        )
        .sort("kind")
    )


def _weekly(year: ChargingYear, first: int = FIRST_WEEK - 1) -> pl.DataFrame:
    """Efficiency of devices in each week with at least two sessions, percent."""
    week = ((pl.col("begins") - YEAR_BEGINS).dt.total_days() // 7).alias("week")
    energy = pl.col("matched_energy_ac_kwh")
    rated = year.sessions.filter(pl.col("efficiency_percent").is_between(50, 100))
    return pl.concat(
        rated.group_by(pl.lit(kind).alias("device_kind"), device.alias("device_id"), week)
        .agg(
            efficiency=(pl.col("efficiency_percent") * energy).sum() / energy.sum(),
            sessions=pl.len(),
        )
        .filter((pl.col("sessions") >= 2) & (pl.col("week") >= first))
        for kind, device in _DEVICES.items()
    )


def _visits(low: pl.DataFrame, year: ChargingYear) -> pl.DataFrame:
    """Flag a device when it is low, and again when it was not for four weeks.

    A flag stands for the partner of most of its sessions as well: these rules can't tell the two
    apart, and that is not held against them.
    """
    partner = pl.concat(
        year.sessions.group_by(
            _DEVICES[kind].alias("device_id"), _DEVICES[other].alias("partner_id")
        )
        .len()
        .with_columns(share=pl.col("len") / pl.col("len").sum().over("device_id"))
        .filter(pl.col("share") >= 0.5)
        .select("device_id", "partner_id")
        for kind, other in (("meter", "vehicle"), ("vehicle", "meter"))
    )
    end = pl.lit(YEAR_BEGINS) + pl.duration(weeks=pl.col("week") + 1)
    since = pl.col("week") - pl.col("week").shift().over(_KEY)
    return (
        low.sort(*_KEY, "week")
        .filter(since.is_null() | (since > _QUIET_WEEKS))
        .join(partner, on="device_id", how="left")
        .select(
            *_KEY,
            "partner_id",
            kind=pl.lit(None, pl.String),
            at=end.dt.cast_time_unit("us"),
        )
        .select(*FLAGS)
        .sort(*_KEY, "at")
    )
