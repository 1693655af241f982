"""The maintenance list: one row a device to visit, by the money at stake, steady day by day."""

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from lake.condition.anomalies import ANOMALIES

WAITING: Final = "waiting"
OPEN: Final = "open"
CLOSED: Final = "closed"

_TIME: Final = pl.Datetime("us", "UTC")
_STATE: Final = {
    "state": pl.String(),
    "first_seen": _TIME,
    "last_seen": _TIME,
    "opened_at": _TIME,
    "closed_at": _TIME,
    "closed_by": pl.String(),
    "closed_reason": pl.String(),
}
_MONEY: Final = {
    "at_stake_a_year": pl.Float64(),
    "mending_saves_a_year": pl.Float64(),
}
KEY: Final = ("device_kind", "device_id")

MAINTENANCE: Final = {**ANOMALIES, **_MONEY, **_STATE}
"""Columns of the list; KEY is the identity of a row.

`state` is waiting (seen, not yet for OPEN_AFTER), open (to visit) or closed. `closed_by` is who has
closed it, null where it closed by itself; `closed_reason` says why. Of what is closed the evidence
stays that of its last day. `at_stake_a_year` and `mending_saves_a_year` are the energies of the
same names at the given price, in its currency; null without a price."""

OPEN_CONFIDENCE: Final = 0.6
KEEP_CONFIDENCE: Final = 0.3
OPEN_AFTER: Final = timedelta(days=7)
CLOSE_AFTER: Final = timedelta(days=28)
QUIET_FOR: Final = timedelta(days=90)
WORSE_BY: Final = 1.5
"""What a person has closed opens again if it is seen after QUIET_FOR, or so many times worse."""

NO_LONGER_SEEN: Final = "no longer seen"
OF_THE_PARTNER: Final = "turned out to be the partner's"


def no_maintenance() -> pl.DataFrame:
    """Return an empty list, to begin with."""
    return pl.DataFrame(schema=MAINTENANCE)


def update_maintenance(
    listed: pl.DataFrame,
    anomalies: pl.DataFrame,
    at: datetime,
    price_per_kwh: float | None = None,
) -> pl.DataFrame:
    """Return the list of MAINTENANCE after a day's ANOMALIES, given the list of the day before.

    An anomaly that is seen with OPEN_CONFIDENCE opens once it has been seen for OPEN_AFTER. It
    stays open while it is seen with KEEP_CONFIDENCE, and closes by itself when it has not been for
    CLOSE_AFTER, or at once where it has turned out to be the other device's. So what wavers about a
    limit is one visit and not five. `at` is the time of the anomalies, later than that of `listed`.
    """
    now = pl.lit(at).cast(_TIME)
    before = pl.col("state_before").fill_null("")
    least = pl.when(before == OPEN).then(KEEP_CONFIDENCE).otherwise(OPEN_CONFIDENCE)
    rows = (
        listed.rename({name: f"{name}_before" for name in listed.columns if name not in KEY})
        .join(anomalies.with_columns(_found=True), on=KEY, how="full", coalesce=True)
        .with_columns(is_seen=pl.col("_found").fill_null(False) & (pl.col("confidence") >= least))
        .with_columns(is_seen=pl.col("is_seen") & ~_is_silenced(now).fill_null(False))
    )
    seen, goes_on = pl.col("is_seen"), before.is_in([WAITING, OPEN])
    sure = pl.col("_found").fill_null(False) & pl.col("may_be_kind").is_null()
    partners = rows.filter(seen & sure).select("device_id")["device_id"]
    is_partners = pl.col("partner_id_before").is_in(partners.implode()).fill_null(False) & (
        pl.col("may_be_kind_before").is_not_null()
    )
    is_over = (now - pl.col("last_seen_before") >= CLOSE_AFTER) | is_partners
    rows = rows.with_columns(
        first_seen=pl.when(seen & ~goes_on).then(now).otherwise("first_seen_before"),
        last_seen=pl.when(seen).then(now).otherwise("last_seen_before"),
    ).with_columns(
        state=pl.when((before == OPEN) & (seen | ~is_over))
        .then(pl.lit(OPEN))
        .when(seen & (now - pl.col("first_seen") >= OPEN_AFTER))
        .then(pl.lit(OPEN))
        .when(seen)
        .then(pl.lit(WAITING))
        .when(before.is_in([OPEN, CLOSED]))
        .then(pl.lit(CLOSED))
    )
    closes = (before == OPEN) & (pl.col("state") == CLOSED)
    why = pl.when(is_partners).then(pl.lit(OF_THE_PARTNER)).otherwise(pl.lit(NO_LONGER_SEEN))
    opens = (pl.col("state") == OPEN) & (before != OPEN)
    stays_closed = (pl.col("state") == CLOSED) & ~closes
    shown = [
        pl.when(seen).then(name).otherwise(f"{name}_before").alias(name)
        for name in ANOMALIES
        if name not in KEY
    ]
    price = pl.lit(price_per_kwh, pl.Float64)
    return (
        rows.filter(pl.col("state").is_not_null())
        .with_columns(
            *shown,
            opened_at=pl.when(opens)
            .then(now)
            .when(pl.col("state") != WAITING)
            .then("opened_at_before"),
            closed_at=pl.when(closes).then(now).when(stays_closed).then("closed_at_before"),
            closed_by=pl.when(stays_closed).then("closed_by_before"),
            closed_reason=pl.when(closes).then(why).when(stays_closed).then("closed_reason_before"),
        )
        .with_columns(
            at_stake_a_year=pl.col("at_stake_kwh_a_year") * price,
            mending_saves_a_year=pl.col("mending_saves_kwh_a_year") * price,
        )
        .select(pl.col(name).cast(kind) for name, kind in MAINTENANCE.items())
        .sort("at_stake_kwh_a_year", *KEY, descending=[True, False, False])
    )


def close_entry(
    listed: pl.DataFrame, device_kind: str, device_id: str, at: datetime, by: str, reason: str
) -> pl.DataFrame:
    """Return the list with an open row closed by a person, for a reason; ValueError without one."""
    is_it = (
        (pl.col("device_kind") == device_kind)
        & (pl.col("device_id") == device_id)
        & (pl.col("state") == OPEN)
    )
    if listed.filter(is_it).is_empty():
        raise ValueError(f"no open row of {device_kind} {device_id}: see which are in the list")
    values = {
        "state": pl.lit(CLOSED),
        "closed_at": pl.lit(at).cast(_TIME),
        "closed_by": pl.lit(by),
        "closed_reason": pl.lit(reason),
    }
    return listed.with_columns(
        pl.when(is_it).then(value).otherwise(name).alias(name) for name, value in values.items()
    )


def _is_silenced(now: pl.Expr) -> pl.Expr:
    """A person has closed it, not long ago, and it is not much worse."""
    by_a_person = (pl.col("state_before") == CLOSED) & pl.col("closed_by_before").is_not_null()
    is_recent = now - pl.col("closed_at_before") < QUIET_FOR
    is_alike = pl.col("kind") == pl.col("kind_before")
    is_no_worse = (pl.col("size_percent") < WORSE_BY * pl.col("size_percent_before")).fill_null(
        True
    )
    return by_a_person & is_recent & is_alike & is_no_worse
