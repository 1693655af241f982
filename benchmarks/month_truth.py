"""The maintenance list and the report of a month beside what is true of the simulated fleet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from lake import METER, VEHICLE
from lake.condition import OPEN
from pipelines.report.figures import Figures
from tests.harness.charging_year.faults import DRIFT, DROP
from tests.harness.charging_year.fleet import ChargingYear, device_ids
from tests.harness.charging_year.heartbeats import SentDays
from tests.harness.charging_year.scoreboard import MATERIAL

FIRST_ROWS: Final = 20
_AT_STAKE: Final = "at_stake_kwh_a_year"
_SAVES: Final = "mending_saves_kwh_a_year"


@dataclass(frozen=True)
class TruthRow:
    """A line of a table, as text by column."""

    cells: Mapping[str, str]

    def texts(self) -> dict[str, str]:
        """The text of each column."""
        return dict(self.cells)


def listed_faults(visits: pl.DataFrame, year: ChargingYear) -> list[TruthRow]:
    """Count for each kind of fault the devices that have it, and those with an open visit.

    Losses of less than 3 % are left out.
    """
    listed = _open(visits)
    first = set(listed.head(FIRST_ROWS)["device_id"])
    told = {
        device: kind
        for kind, *pair in listed.select("kind", *_DEVICES).iter_rows()
        for device in pair
        if device is not None
    }
    counted = year.truth.filter(pl.col("fall").is_null() | (pl.col("fall") >= MATERIAL))
    rows = []
    for (kind,), faults in counted.sort("kind").group_by("kind", maintain_order=True):
        devices = faults["device_id"].to_list()
        counts = {
            "of": len(devices),
            "listed": sum(one in told for one in devices),
            "named": sum(told.get(one) == kind for one in devices),
            f"first {FIRST_ROWS}": sum(one in first for one in devices),
        }
        rows.append(TruthRow({"fault": str(kind), **{k: str(v) for k, v in counts.items()}}))
    return rows


def false_visits(visits: pl.DataFrame, year: ChargingYear) -> pl.DataFrame:
    """Return the open visits of devices without a fault, and whose partner has none either."""
    faulty = year.truth["device_id"].implode()
    is_true = [device.is_in(faulty).fill_null(False) for device in _DEVICES]
    return _open(visits).filter(~pl.any_horizontal(*is_true))


def worst_found(visits: pl.DataFrame, year: ChargingYear, sent: SentDays) -> tuple[int, int]:
    """Count the FIRST_ROWS devices that truly lose most, and those of them that are first listed.

    First by what mending saves.
    """
    flows = sent.flows
    lost = pl.concat(
        pl.DataFrame({"device_id": device_ids(kind, numbers), "lost": flows.lost_by_fault})
        .group_by("device_id")
        .agg(pl.col("lost").sum())
        for kind, numbers in ((METER.name, flows.charger), (VEHICLE.name, flows.vehicle))
    )
    losing = year.truth.filter(pl.col("kind").is_in([DRIFT, DROP])).join(lost, on="device_id")
    worst = losing.sort("lost", descending=True).head(FIRST_ROWS)["device_id"]
    first = _open(visits).sort(_SAVES, descending=True).head(FIRST_ROWS)["device_id"]
    return worst.len(), int(worst.is_in(first.implode()).sum())


def figures_beside(figures: Figures, sessions: int, sent: SentDays) -> Sequence[TruthRow]:
    """The figures of a report, of what was sent, and of what truly flowed."""
    flows, totals = sent.flows, figures.totals
    sent_ac, sent_dc = (float(sent.energies[name].sum()) for name in (METER.name, VEHICLE.name))
    ac, dc = float(flows.true_ac.sum()), float(flows.true_dc.sum())
    values: Sequence[tuple[str, float | None, float | None, float | None]] = (
        ("bought, kWh", totals.bought_kwh, sent_ac, ac),
        ("delivered, kWh", totals.delivered_kwh, sent_dc, dc),
        ("efficiency, %", totals.efficiency_percent, 100 * sent_dc / sent_ac, 100 * dc / ac),
        ("rated, %", totals.rated_share, None, None),
        ("sessions", sessions, None, len(flows.day)),
        (
            "silent at the end",
            figures.quality.silent_count,
            None,
            sum(map(len, sent.silent.values())),
        ),
    )
    return [
        TruthRow(
            {
                "figure": name,
                **{
                    column: "" if value is None else f"{value:,.1f}"
                    for column, value in zip(("report", "sent", "true"), told, strict=True)
                },
            }
        )
        for name, *told in values
    ]


def _open(visits: pl.DataFrame) -> pl.DataFrame:
    """The open visits, the most at stake first."""
    return visits.filter(pl.col("state") == OPEN).sort(_AT_STAKE, descending=True)


_DEVICES: Final = (
    pl.col("device_id"),
    pl.when(pl.col("may_be_kind").is_not_null()).then("partner_id").alias("partner_id"),
)
