"""Totals of a period: what was bought, delivered and lost, and what it cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl

from lake.energy import RATED, STATUSES, charger_totals, fleet_efficiency
from lake.reports import Scope
from pipelines.report.window import Money, WindowRows


@dataclass(frozen=True)
class Totals:
    """Totals of a fleet by its vehicles, or of a depot by its chargers; energies in kWh.

    `linked_kwh` is what the meters gave vehicles, `unlinked_kwh` what they measured beside it.
    Lost, and `efficiency_percent`, are of the rated energies. `devices` are the vehicles or
    chargers, `statuses` how many of them have each status.
    """

    linked_kwh: float
    unlinked_kwh: float
    delivered_kwh: float
    rated_ac_kwh: float
    rated_dc_kwh: float
    lost_kwh: float
    efficiency_percent: float | None
    devices: int
    statuses: Mapping[str, int]
    money: Money

    @property
    def bought_kwh(self) -> float:
        """All that the meters measured."""
        return round(self.linked_kwh + self.unlinked_kwh, 9)

    @property
    def rated_devices(self) -> int:
        """Those whose efficiency is believable."""
        return sum(self.statuses[name] for name in RATED)

    @property
    def rated_share(self) -> float | None:
        """Rated AC energy as percent of all that was bought; None where nothing was."""
        return 100 * self.rated_ac_kwh / self.bought_kwh if self.bought_kwh > 0 else None

    @property
    def price(self) -> Decimal | None:
        """Mean price of a kWh that was bought; None where none is known."""
        if self.money.energy is None or self.bought_kwh <= 0:
            return None
        return self.money.energy / Decimal(repr(self.bought_kwh))


def totals_of(rows: WindowRows, scope: Scope) -> Totals:
    """Add the rows of a scope up, as the fleet's table does it."""
    window = pl.lit(0).alias("window")
    vehicles, chargers = (
        part.lazy().with_columns(window) for part in (rows.vehicles, rows.chargers)
    )
    found = (
        fleet_efficiency(vehicles, chargers, "window")
        if scope.depot is None
        else charger_totals(chargers, "window")
    ).collect()
    row: dict[str, Any] = next(
        found.iter_rows(named=True),
        # Zeros of the kind of each column.
        {
            **pl.DataFrame({}, schema=found.schema).sum().row(0, named=True),
            "efficiency_percent": None,
        },
    )
    return Totals(
        linked_kwh=row["energy_ac_kwh"],
        unlinked_kwh=row["unlinked_energy_ac_kwh"],
        delivered_kwh=row["energy_dc_kwh"],
        rated_ac_kwh=row["rated_energy_ac_kwh"],
        rated_dc_kwh=row["rated_energy_dc_kwh"],
        lost_kwh=row["loss_kwh"],
        efficiency_percent=row["efficiency_percent"],
        devices=row["vehicles"],
        statuses={name: row[f"vehicles_{name}"] for name in STATUSES},
        money=rows.money,
    )
