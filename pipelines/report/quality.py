"""Faults of the data: energy without a rating, silent devices, guessed links."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from lake.energy import RATED, REASONS, RULE, exact_sum
from lake.reports import Kind
from pipelines.report.totals import Totals
from pipelines.report.window import WindowRows

NAMED: Final = 15
# Silent at the end of the period for longer than this.
_SILENT: Final[dict[Kind, timedelta]] = {
    "day": timedelta(hours=1),
    "week": timedelta(days=1),
    "month": timedelta(days=1),
}
_NEVER: Final = datetime(1, 1, 1, tzinfo=UTC)
_UNMATCHED: Final = "unmatched"
_UNLINKED: Final = "unlinked"
_SAID: Final = {
    **REASONS,
    _UNMATCHED: "It flowed while the other side was not known; the rest of the device's energy is "
    "rated.",
    _UNLINKED: "It went through meters that were linked to no vehicle then.",
}
# What helps, by reason.
_HELP: Final = {
    "no_link": "Say which meter feeds it: links by the API, or the meter's id in its heartbeats.",
    "left_out": "Look at the register: values that jump can't be believed.",
    "unplaced": "Let it send more often, or every hour at least.",
    "conflict": "Two senders use one id, or one sends a value twice.",
    "unmatched": "Look for heartbeats that are lost on the other side.",
    "not_known": "Look why this side sends no energy.",
    "one_side_only": "Look for a wrong link, or a register that stands still.",
    "above_100_percent": "Look for a wrong link, a unit or a faulty meter.",
    "below_floor": "Look for a wrong link, a unit, or a battery that is heated.",
    _UNLINKED: "Link the meter to what it feeds.",
}


@dataclass(frozen=True)
class Excluded:
    """AC energy that no efficiency rests on, by reason code; the devices, and percent of all."""

    code: str
    reason: str
    devices: int
    energy_kwh: float
    share: float


@dataclass(frozen=True)
class Silent:
    """A device that was silent at the end, since when and for how long.

    Both are None where it was not heard in the period before either.
    """

    kind: str
    device_id: str
    last: datetime | None
    silent_for: timedelta | None


@dataclass(frozen=True)
class Unrated:
    """A device and its AC energy that is not rated, with the reason, and what would help."""

    kind: str
    device_id: str
    energy_kwh: float
    code: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class Quality:
    """Data quality: the first NAMED devices of each kind, and how many there are."""

    silent: Sequence[Silent]
    silent_count: int
    unrated: Sequence[Unrated]
    unrated_count: int
    duplicates: int
    resets: int
    left_out: int
    conflicts: int
    unplaced_kwh: float
    guessed: Sequence[tuple[str, float]]
    guessed_count: int


def excluded_energy(rows: pl.DataFrame, totals: Totals) -> list[Excluded]:
    """Divide what was bought and is not rated by reason, the most energy first.

    `rows` are those of the vehicles of a fleet or the chargers of a depot. With the rated energy
    the parts add up to all that was bought.
    """
    found = (
        _unrated_energy(rows)
        .group_by("code")
        .agg(pl.len().alias("devices"), exact_sum(pl.col("unrated_kwh")).alias("energy"))
        .rows()
    )
    if totals.unlinked_kwh:
        found.append((_UNLINKED, 0, totals.unlinked_kwh))
    bought = totals.bought_kwh
    return [
        Excluded(code, _SAID[code], devices, energy, 100 * energy / bought if bought > 0 else 0.0)
        for code, devices, energy in sorted(found, key=lambda one: (-one[2], one[0]))
    ]


def quality_of(
    rows: WindowRows, before: WindowRows, own: pl.DataFrame, until: datetime, kind: Kind
) -> Quality:
    """Say what is wrong with the data up to `until`; `before` is the period before.

    `own` are the rows that the totals rest on.
    """
    silent = [
        *_silent("meter", rows.chargers, before.chargers, until, _SILENT[kind]),
        *_silent("vehicle", rows.vehicles, before.vehicles, until, _SILENT[kind]),
    ]
    silent.sort(key=lambda one: (one.last or _NEVER, one.device_id))
    key = "vehicle_id" if "vehicle_id" in own.columns else "meter_id"
    unrated = _unrated_energy(own).sort("unrated_kwh", key, descending=[True, False])
    guessed = (
        rows.vehicles.filter(pl.col("link_source").str.contains(RULE))
        .select("vehicle_id", pl.col("energy_ac_kwh").fill_null(0.0))
        .sort("energy_ac_kwh", "vehicle_id", descending=[True, False])
    )
    return Quality(
        silent=silent[:NAMED],
        silent_count=len(silent),
        unrated=[
            Unrated(key.removesuffix("_id"), device, energy, code, _SAID[code], _remedy(code))
            for device, energy, code in unrated.head(NAMED)
            .select(key, "unrated_kwh", "code")
            .rows()
        ],
        unrated_count=unrated.height,
        duplicates=int(own["duplicates"].sum()),
        resets=int(own["resets"].sum()),
        left_out=sum(int(own[f"left_out_{side}"].sum()) for side in ("ac", "dc")),
        conflicts=sum(int(own[f"conflicts_{side}"].sum()) for side in ("ac", "dc")),
        unplaced_kwh=float(own["unplaced_energy_ac_kwh"].sum()),
        guessed=guessed.head(NAMED).rows(),
        guessed_count=guessed.height,
    )


def _unrated_energy(rows: pl.DataFrame) -> pl.DataFrame:
    """Devices with AC energy that was credited and is not rated: `code`, `unrated_kwh`."""
    unlinked = pl.col("unlinked_energy_ac_kwh") if "meter_id" in rows.columns else pl.lit(0.0)
    credited = pl.col("energy_ac_kwh").fill_null(0.0) - unlinked
    is_rated = pl.col("status").is_in(RATED)
    matched = pl.when(is_rated).then("matched_energy_ac_kwh").otherwise(0.0)
    return rows.with_columns(
        unrated_kwh=(credited - matched).round(9),
        code=pl.when(is_rated).then(pl.lit(_UNMATCHED)).otherwise("reason"),
    ).filter(pl.col("unrated_kwh") != 0)


def _silent(
    kind: str, rows: pl.DataFrame, before: pl.DataFrame, until: datetime, longest: timedelta
) -> list[Silent]:
    key, last = (f"{kind}_id", "last_ac" if kind == "meter" else "last_dc")
    # A device that is linked no more and silent has no row.
    heard = pl.concat([part.select(key, last) for part in (rows, before)])
    found = heard.group_by(key).agg(pl.col(last).max())
    found = found.filter(pl.col(last).is_null() | (pl.col(last) < pl.lit(until - longest)))
    return [
        Silent(kind, device, moment, until - moment if moment else None)
        for device, moment in found.rows()
    ]


def _remedy(code: str) -> str:
    return next((said for begin, said in _HELP.items() if code.startswith(begin)), "")
