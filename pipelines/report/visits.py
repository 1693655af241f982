"""Chargers and vehicles that are worth a visit, by what mending them saves in a year."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import polars as pl

from lake import EnergySettings
from lake.condition import OPEN
from lake.energy import RATED, RULE
from pipelines.report.window import WindowRows

NAMED: Final = 10
RECENT: Final = timedelta(days=28)
"""So many days before the end show whom to visit, where there is no list."""
EVIDENCE: Final = (
    "vehicle_id",
    "meter_ids",
    "average_battery_temp",
    "mean_power_ac_kw",
    "link_source",
)
"""The columns of sessions that are read."""
_A_YEAR: Final = timedelta(hours=8766)


@dataclass(frozen=True)
class Visit:
    """A device to visit, why, and the evidence: None where it is not known.

    `saves` is what mending saves in a year, in the currency; `saves_kwh` the energy. Where mending
    saves none, for what measures is at fault, `at_stake_kwh` is measured wrongly in a year.
    `coverage` and `guessed` are parts from 0 to 1; `guessed` is that of links by rule.
    """

    kind: str
    device_id: str
    reason: str
    saves: float | None
    currency: str | None
    saves_kwh: float
    at_stake_kwh: float
    since: date | None
    confidence: float | None
    sessions: int
    temperature: float | None
    power_kw: float | None
    coverage: float | None
    guessed: float | None


@dataclass(frozen=True)
class Visits:
    """The first NAMED chargers and vehicles that lose, and devices that measure wrongly.

    `..._count` is how many there are of each. They are those of the maintenance list of the day
    `listed_on`; where that is None, because there is no list, those below the fault line.
    """

    chargers: Sequence[Visit]
    vehicles: Sequence[Visit]
    wrong: Sequence[Visit]
    charger_count: int
    vehicle_count: int
    wrong_count: int
    listed_on: date | None


def visits_of_list(listed: pl.DataFrame, day: date) -> Visits:
    """Return the open visits of rows of the maintenance list of a day."""
    chargers, vehicles = (_listed(listed, kind) for kind in ("meter", "vehicle"))
    return _first(chargers, vehicles, day)


def visits_of_rows(rows: WindowRows, sessions: pl.DataFrame, settings: EnergySettings) -> Visits:
    """Return the devices of RECENT rows below the line from which charging is good."""
    chargers = _below_the_line("meter", rows.chargers, sessions, settings)
    vehicles = _below_the_line("vehicle", rows.vehicles, sessions, settings)
    return _first(chargers, vehicles, None)


def _first(chargers: list[Visit], vehicles: list[Visit], listed_on: date | None) -> Visits:
    every = sorted((*chargers, *vehicles), key=_worth, reverse=True)
    wrong = [visit for visit in every if visit.saves_kwh <= 0]
    chargers, vehicles = (
        [visit for visit in every if visit.kind == kind and visit.saves_kwh > 0]
        for kind in ("meter", "vehicle")
    )
    return Visits(
        *(chargers[:NAMED], vehicles[:NAMED], wrong[:NAMED]),
        *(len(chargers), len(vehicles), len(wrong)),
        listed_on,
    )


def _worth(visit: Visit) -> tuple[float, float, float, str]:
    return visit.saves or 0.0, visit.saves_kwh, visit.at_stake_kwh, visit.device_id


def _listed(listed: pl.DataFrame, kind: str) -> list[Visit]:
    is_open = (pl.col("state") == OPEN) & (pl.col("device_kind") == kind)
    return [
        Visit(
            kind=kind,
            device_id=row["device_id"],
            reason=row["reason"],
            saves=row["mending_saves_a_year"],
            currency=row["currency"],
            saves_kwh=row["mending_saves_kwh_a_year"],
            at_stake_kwh=row["at_stake_kwh_a_year"],
            since=row["since"].date(),
            confidence=row["confidence"],
            sessions=row["sessions"],
            temperature=row["median_temperature"],
            power_kw=row["median_power_kw"],
            coverage=row["mean_coverage"],
            guessed=row["share_linked_by_rule"],
        )
        for row in listed.filter(is_open).iter_rows(named=True)
    ]


def _below_the_line(
    kind: str, rows: pl.DataFrame, sessions: pl.DataFrame, settings: EnergySettings
) -> list[Visit]:
    """Rated devices below the line of their class, and what they lose beyond it in a year."""
    rated = rows.filter(pl.col("status").is_in(RATED))
    evidence = _evidence(kind, sessions)
    found = []
    for row in rated.iter_rows(named=True):
        _, line, _, _ = settings.status_limits(row["charger_class"])
        if row["efficiency_percent"] >= line:
            continue
        a_year = _A_YEAR / RECENT
        excess = row["matched_energy_ac_kwh"] * (line - row["efficiency_percent"]) / 100
        of_sessions = evidence.get(row[f"{kind}_id"], {})
        found.append(
            Visit(
                kind=kind,
                device_id=row[f"{kind}_id"],
                reason=f"{row['efficiency_percent']:.1f} % arrived; {line:g} % should.",
                saves=_priced(row, excess * a_year),
                currency=row["currency"],
                saves_kwh=excess * a_year,
                at_stake_kwh=row["loss_kwh"] * a_year,
                since=None,
                confidence=None,
                sessions=of_sessions.get("sessions", 0),
                temperature=of_sessions.get("temperature"),
                power_kw=of_sessions.get("power"),
                coverage=min(row["coverage_ac"], row["coverage_dc"]),
                guessed=of_sessions.get("guessed"),
            )
        )
    return found


def _priced(row: dict[str, Any], energy_kwh: float) -> float | None:
    """The energy at the mean price of the device's own."""
    cost, bought = row["cost_of_energy"], row["energy_ac_kwh"]
    return float(cost) / bought * energy_kwh if cost is not None and bought else None


def _evidence(kind: str, sessions: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """What the sessions of each device show: how many, and medians."""
    key = "vehicle_id"
    if kind == "meter":
        sessions, key = sessions.explode("meter_ids").drop_nulls("meter_ids"), "meter_ids"
    found = sessions.group_by(key).agg(
        sessions=pl.len(),
        temperature=pl.col("average_battery_temp").median(),
        power=pl.col("mean_power_ac_kw").median(),
        guessed=pl.col("link_source").str.contains(RULE).mean(),
    )
    return {row[key]: row for row in found.iter_rows(named=True)}
