"""Changes since the period before: in cost and losses by their causes, and in devices."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import polars as pl

from lake.energy import RATED
from pipelines.report.text import plural, signed
from pipelines.report.totals import Totals
from pipelines.report.window import WindowRows

_NAMED: Final = 5
_LEAST_KWH: Final = 0.05


@dataclass(frozen=True)
class Change:
    """A sentence, and the devices that it is about: kind, id, and what is said of each."""

    text: str
    devices: Sequence[tuple[str, str, str]] = field(default_factory=tuple)


def changes(
    totals: Totals,
    earlier: Totals,
    rows: WindowRows,
    before: WindowRows,
) -> list[Change]:
    """Return what changed since the period before, the money first."""
    found = [
        _cost(totals, earlier),
        _losses(totals, earlier),
        _losing_more("meter", rows.chargers, before.chargers),
        _fallen("vehicle", rows.vehicles, before.vehicles),
        _fallen("meter", rows.chargers, before.chargers),
        _heard("meter", rows.chargers, before.chargers),
        _heard("vehicle", rows.vehicles, before.vehicles),
        _heard_no_more("meter", rows.chargers, before.chargers),
        _heard_no_more("vehicle", rows.vehicles, before.vehicles),
    ]
    return [change for change in found if change is not None]


def _cost(now: Totals, then: Totals) -> Change | None:
    """The change of the cost, by the amount at the old price and by the price."""
    price, old_price = now.price, then.price
    if price is None or old_price is None or now.money.currency != then.money.currency:
        return None
    assert now.money.energy is not None
    assert then.money.energy is not None
    total = now.money.energy - then.money.energy
    by_amount = (Decimal(repr(now.bought_kwh)) - Decimal(repr(then.bought_kwh))) * old_price
    currency = now.money.currency
    return Change(
        f"Cost of the energy: {signed(total, 2)} {currency}, of which {signed(by_amount, 2)} by "
        f"the amount and {signed(total - by_amount, 2)} by the price ({price:.4f} {currency}/kWh "
        f"on average, before {old_price:.4f})."
    )


def _losses(now: Totals, then: Totals) -> Change | None:
    """The change of the losses, by the rated energy at the old efficiency and by the efficiency."""
    if now.efficiency_percent is None or then.efficiency_percent is None:
        return None
    total = now.lost_kwh - then.lost_kwh
    by_amount = (now.rated_ac_kwh - then.rated_ac_kwh) * (1 - then.efficiency_percent / 100)
    return Change(
        f"Losses: {signed(total, 1)} kWh, of which {signed(by_amount, 1)} by the amount and "
        f"{signed(total - by_amount, 1)} by the efficiency ({now.efficiency_percent:.1f} %, before "
        f"{then.efficiency_percent:.1f} %)."
    )


def _losing_more(kind: str, rows: pl.DataFrame, before: pl.DataFrame) -> Change | None:
    is_known = pl.col("status_before").is_null() | pl.col("status_before").is_in((*RATED, "idle"))
    found = (
        _joined(kind, rows, before)
        .filter(pl.col("status").is_in(RATED) & is_known)
        .with_columns(more=pl.col("loss_kwh") - pl.col("loss_kwh_before").fill_null(0.0))
        .filter(pl.col("more") >= _LEAST_KWH)
        .sort("more", "id", descending=[True, False])
    )
    devices = [
        (kind, device, f"{signed(more, 1)} kWh")
        for device, more in found.head(_NAMED).select("id", "more").rows()
    ]
    return (
        Change("Chargers that lost more than before, the most first:", devices) if devices else None
    )


def _fallen(kind: str, rows: pl.DataFrame, before: pl.DataFrame) -> Change | None:
    low = ("warning", "critical")
    found = (
        _joined(kind, rows, before)
        .filter(
            pl.col("status").is_in(low)
            & pl.col("status_before").is_in(RATED)
            & ~pl.col("status_before").is_in(low)
        )
        .sort("efficiency_percent", "id")
    )
    devices = [
        (kind, device, f"{now:.1f} %, before {then:.1f} %")
        for device, now, then in found.head(_NAMED)
        .select("id", "efficiency_percent", "efficiency_percent_before")
        .rows()
    ]
    what = plural(kind, found.height)
    return Change(f"{what} fell below the fault line:", devices) if devices else None


def _heard(kind: str, rows: pl.DataFrame, before: pl.DataFrame) -> Change | None:
    found = _joined(kind, rows, before).filter(
        _is_heard(kind) & ~_is_heard(kind, "_before").fill_null(value=False)
    )
    return _named(kind, found, "heard that were not heard before:")


def _heard_no_more(kind: str, rows: pl.DataFrame, before: pl.DataFrame) -> Change | None:
    found = _joined(kind, before, rows).filter(
        _is_heard(kind) & ~_is_heard(kind, "_before").fill_null(value=False)
    )
    return _named(kind, found, "heard no more:")


def _named(kind: str, found: pl.DataFrame, what: str) -> Change | None:
    if found.is_empty():
        return None
    named = [(kind, device, "") for device in found["id"].sort().head(_NAMED)]
    return Change(
        f"{plural(kind, found.height)} {'is' if found.height == 1 else 'are'} {what}", named
    )


def _joined(kind: str, rows: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    key = f"{kind}_id"
    return rows.join(before, on=key, how="left", suffix="_before").rename({key: "id"})


def _is_heard(kind: str, suffix: str = "") -> pl.Expr:
    return pl.col(f"data_points_{kind}{suffix}") > 0
