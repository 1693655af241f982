"""Charger or vehicle: whose a change is, by the sessions that either has with others."""

from typing import Final

import polars as pl

from lake.condition.sessions import DEVICE_COLUMNS, METER, VEHICLE

LONGEST_WINDOW_WEEKS: Final = 12
GREATEST_AC_KW: Final = 25.0
_PRIOR_ERROR: Final = 0.25  # part of a change by which it differs from partner to partner


def separate(
    rows: pl.DataFrame,
    value: pl.Expr,
    error: pl.Expr,
    between: float,
    suspects: pl.DataFrame,
    known: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Add what sessions since the change say: `level`, `own`, `compared`, `others`, `own_chance`.

    `rows` are sessions with meter_id, vehicle_id and `week`; `value` is what has changed, near zero
    where nothing has, `error` its spread in one session and `between` that of sound pairs, all in
    one unit. `suspects` have device_kind, device_id and change_week, the week since when each has
    changed (before: -1). `known` are devices (device_kind, device_id) whose sessions are no
    comparison, for they are faulty themselves. What flows at more than GREATEST_AC_KW is compared
    with its like alone: there the vehicle's own charger has no part.

    `level` is the mean of a suspect's sessions since the change, in the last LONGEST_WINDOW_WEEKS;
    `own` how far its sessions with each partner are from that partner's sessions with others, each
    weighted with n m / (n + m) of their numbers. If the change is the suspect's, `own` is `level`;
    if it is its partners', it is 0. `own_chance` is the chance of the first, both equally likely
    before; 0.5 where there is nothing to compare. `compared` counts sessions, `others` partners.
    `partner_id` is the partner of the most sessions, `partner_share` its share of them.
    """
    named = rows.select(
        "meter_id",
        "vehicle_id",
        "week",
        is_dc=pl.col("mean_power_ac_kw") > GREATEST_AC_KW,
        value=value,
        variance=error**2,
    ).drop_nulls("value")
    found = pl.concat(
        _compared(named, kind, suspects.filter(pl.col("device_kind") == kind), between, known)
        for kind in DEVICE_COLUMNS
    )
    chance = pl.col("own") ** 2 - (pl.col("own") - pl.col("level")) ** 2
    likely = 1 / (1 + (-(chance / (2 * pl.col("own_variance"))).clip(-50, 50)).exp())
    return suspects.join(
        found.with_columns(own_chance=likely.fill_null(0.5)).drop("own_variance"),
        on=["device_kind", "device_id"],
        how="left",
        maintain_order="left",
    )


def _compared(
    rows: pl.DataFrame,
    kind: str,
    suspects: pl.DataFrame,
    between: float,
    known: pl.DataFrame | None,
) -> pl.DataFrame:
    other = METER if kind == VEHICLE else VEHICLE
    device, partner = DEVICE_COLUMNS[kind], DEVICE_COLUMNS[other]
    since = pl.col("change_week").clip(lower_bound=-LONGEST_WINDOW_WEEKS)
    asked = suspects.lazy().select(pl.col("device_id").alias(device), since=since)
    pairs = (
        rows.lazy()
        .join(asked, on=device)
        .filter(pl.col("week") >= pl.col("since"))
        .group_by(device, partner, "since", "is_dc")
        .agg(
            count=pl.len().cast(pl.Float64),
            mean=pl.col("value").mean(),
            variance=pl.col("variance").mean(),
        )
    )
    comparable = rows.lazy()
    if known is not None:
        faulty = known.lazy().filter(pl.col("device_kind") == kind)
        comparable = comparable.join(
            faulty.select(pl.col("device_id").alias(device)), on=device, how="anti"
        )
    elsewhere = (
        pairs.select(pl.col(device).alias("suspect"), partner, "since", "is_dc")
        .join(comparable, on=[partner, "is_dc"])
        .filter((pl.col("week") >= pl.col("since")) & (pl.col(device) != pl.col("suspect")))
        .group_by("suspect", partner, "is_dc")
        .agg(their_count=pl.len().cast(pl.Float64), their_mean=pl.col("value").mean())
    )
    both = pairs.join(
        elsewhere,
        left_on=[device, partner, "is_dc"],
        right_on=["suspect", partner, "is_dc"],
        how="left",
    ).with_columns(
        weight=pl.col("count") * pl.col("their_count") / (pl.col("count") + pl.col("their_count"))
    )
    weight = pl.col("weight")
    is_compared = weight.is_not_null()
    difference = pl.col("mean") - pl.col("their_mean")
    variance = (pl.col("variance") * weight).sum() / weight.sum()
    own = (difference * weight).sum() / weight.sum()
    level = (pl.col("mean") * pl.col("count")).sum() / pl.col("count").sum()
    return (
        both.group_by(device)
        .agg(
            level=level,
            own=pl.when(weight.sum() > 0).then(own),
            own_variance=pl.when(weight.sum() > 0).then(
                variance / weight.sum()
                + (between**2 + (_PRIOR_ERROR * level) ** 2) / is_compared.sum()
            ),
            compared=pl.col("count").filter(is_compared).sum().cast(pl.Int64),
            others=is_compared.sum().cast(pl.Int64),
            partner_id=pl.col(partner).sort_by("count", partner, descending=[True, False]).first(),
            partner_share=pl.col("count").max() / pl.col("count").sum(),
        )
        .select(pl.lit(kind).alias("device_kind"), pl.col(device).alias("device_id"), *_FOUND)
        .sort("device_id")
        .collect()
    )


_FOUND: Final = (
    "level",
    "own",
    "own_variance",
    "compared",
    "others",
    "partner_id",
    "partner_share",
)
