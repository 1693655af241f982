"""The maintenance list: one row a device to visit, by the money at stake, steady day by day."""

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from lake.condition.anomalies import ANOMALIES
from lake.condition.sessions import column_types
from lake.schema.device_condition import MAINTENANCE_VISIT

WAITING: Final = "waiting"
OPEN: Final = "open"
CLOSED: Final = "closed"

_TIME: Final = pl.Datetime("us", "UTC")
KEY: Final = ("device_kind", "device_id")
_MONEY: Final = ("at_stake_a_year", "mending_saves_a_year")

MAINTENANCE: Final = column_types(MAINTENANCE_VISIT)
"""Columns of the list: those of MAINTENANCE_VISIT without the day; KEY is the identity of a row.

Of what is closed the evidence stays that of its last day."""

DECISIONS: Final = {
    **dict.fromkeys(KEY, pl.String()),
    "decided_at": _TIME,
    "decided_by": pl.String(),
    "closes": pl.Boolean(),
    "reason": pl.String(),
}
"""Columns of what people decide of rows: to close one, for a reason, or to open it again."""

PRICES: Final = {
    **dict.fromkeys(KEY, pl.String()),
    "price_per_kwh": pl.Float64(),
    "currency": pl.String(),
}
"""Columns of the prices of devices."""

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
    prices: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return the list of MAINTENANCE after a day's ANOMALIES, given the list of the day before.

    An anomaly that is seen with OPEN_CONFIDENCE opens once it has been seen for OPEN_AFTER. It
    stays open while it is seen with KEEP_CONFIDENCE, and closes by itself when it has not been for
    CLOSE_AFTER, or at once where it has turned out to be the other device's. So what wavers about a
    limit is one visit and not five. `at` is the time of the anomalies, later than that of `listed`.
    `prices` has PRICES; what is at stake at a device without one is null.
    """
    now = pl.lit(at).cast(_TIME)
    before = pl.col("state_before").fill_null("")
    least = pl.when(before == OPEN).then(KEEP_CONFIDENCE).otherwise(OPEN_CONFIDENCE)
    rows = (
        listed.rename({name: f"{name}_before" for name in MAINTENANCE if name not in KEY})
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
    if prices is None:
        prices = pl.DataFrame(schema=PRICES)
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
        .join(prices, on=KEY, how="left")
        .with_columns(
            (pl.col(name.replace("_a_", "_kwh_a_")) * pl.col("price_per_kwh")).round(4).alias(name)
            for name in _MONEY
        )
        .select(pl.col(name).cast(kind) for name, kind in MAINTENANCE.items())
        .sort("at_stake_kwh_a_year", *KEY, descending=[True, False, False])
    )


def apply_decisions(listed: pl.DataFrame, decisions: pl.DataFrame) -> pl.DataFrame:
    """Return the list after DECISIONS of people, of each device the newest.

    It closes what is not closed yet, or by a person; it opens what a person has closed. What a row
    is not ready for any more changes nothing, as one that has closed by itself meanwhile.
    """
    newest = decisions.sort("decided_at", maintain_order=True).unique(KEY, keep="last")
    rows = listed.join(newest.rename({"reason": "why"}), on=KEY, how="left", maintain_order="left")
    by_a_person = (pl.col("state") == CLOSED) & pl.col("closed_by").is_not_null()
    closes = pl.col("closes").fill_null(False) & ((pl.col("state") != CLOSED) | by_a_person)
    opens = ~pl.col("closes").fill_null(True) & by_a_person
    before = pl.when(pl.col("opened_at").is_null()).then(pl.lit(WAITING)).otherwise(pl.lit(OPEN))
    decided = {
        "state": (pl.lit(CLOSED), before),
        "closed_at": (pl.col("decided_at"), None),
        "closed_by": (pl.col("decided_by"), None),
        "closed_reason": (pl.col("why"), None),
    }
    return rows.with_columns(
        pl.when(closes).then(closed).when(opens).then(opened).otherwise(name).alias(name)
        for name, (closed, opened) in decided.items()
    ).select(MAINTENANCE.keys())


def _is_silenced(now: pl.Expr) -> pl.Expr:
    """A person has closed it, not long ago, and it is not much worse."""
    by_a_person = (pl.col("state_before") == CLOSED) & pl.col("closed_by_before").is_not_null()
    is_recent = now - pl.col("closed_at_before") < QUIET_FOR
    is_alike = pl.col("kind") == pl.col("kind_before")
    is_no_worse = (pl.col("size_percent") < WORSE_BY * pl.col("size_percent_before")).fill_null(
        True
    )
    return by_a_person & is_recent & is_alike & is_no_worse
