"""Anomalies: which device is at fault, in what way, since when, how surely, and what it costs."""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

import polars as pl
import polars.selectors as cs
from scipy.special import ndtr

from lake.condition.expected import expected_efficiency, fit_expected
from lake.condition.levels import adjusted_deviations, weekly_levels
from lake.condition.reasons import with_reasons
from lake.condition.sensor_faults import CLOCK, PHASE, SLIPPING, sensor_faults
from lake.condition.separation import separate
from lake.condition.sessions import (
    BELIEVABLE_PERCENT,
    DEVICE_COLUMNS,
    METER,
    VEHICLE,
    column_types,
    prepare_sessions,
)
from lake.condition.trend import STEP, TRENDS, efficiency_trends
from lake.schema.device_condition import DEVICE_ANOMALY

SLOW_DRIFT: Final = "slow_drift"
SUDDEN_DROP: Final = "sudden_drop"
ALWAYS_LOW: Final = "always_low"
LOSSES: Final = (SLOW_DRIFT, SUDDEN_DROP, ALWAYS_LOW)
"""Kinds whose energy is lost. Of the others it is not known, or its time is not."""

ANOMALIES: Final = column_types(DEVICE_ANOMALY)
"""Columns of anomalies: those of DEVICE_ANOMALY without the day.

`size_percent` is that of LOSSES, `size` that of `sensor_faults`."""

SMALLEST_PERCENT: Final = 2.0
"""A fall of less is no anomaly, however sure."""

_SURE_Z: Final = 5.0
_FEWEST_SESSIONS: Final = 6
_MOST_OF_USUAL: Final = 20  # times the energy of a usual session
_LOW_PERCENT: Final = 7.0
_LOW_SPREADS: Final = 4.0
_NORMAL: Final = 1.4826
_OWN: Final = 0.97
_PAIR: Final = 0.5  # of its sessions
_BETWEEN_PERCENT: Final = 2.0
_YEAR: Final = timedelta(days=365.25)
_SHOWN_DAYS: Final = 84


class FleetCondition(NamedTuple):
    """Condition of a fleet at a moment."""

    sessions: pl.DataFrame
    """Those that have ended, as `expected_efficiency` returns them."""
    trends: pl.DataFrame
    """TRENDS, of devices without a fault of what measures."""
    anomalies: pl.DataFrame
    """ANOMALIES, at most one for each device, the largest first."""


def assess_condition(
    sessions: pl.DataFrame, through: datetime, limit_percent: float = 80.0
) -> FleetCondition:
    """Return the condition of a fleet at a moment.

    `sessions` are rows of `charging_session` (the columns SESSIONS) of about a year before
    `through`; those that begin later have no part. `limit_percent` is that of `days_to_limit`.
    TooFewSessions where they tell no expected efficiency.
    """
    prepared = prepare_sessions(sessions.filter(pl.col("begins") < through))
    expected = expected_efficiency(prepared, fit_expected(prepared))
    faults = sensor_faults(expected, through)
    sound = expected
    for kind, device in DEVICE_COLUMNS.items():
        faulty = faults.filter(pl.col("device_kind") == kind).select(
            pl.col("device_id").alias(device)
        )
        sound = sound.join(faulty, on=device, how="anti", maintain_order="left")
    rows = adjusted_deviations(sound, through)
    trends = efficiency_trends(weekly_levels(rows), limit_percent)
    found = pl.concat(
        [
            _losses(rows, trends, through),
            faults.with_columns(
                may_be_kind=pl.when(
                    pl.col("partner_id").is_not_null() & pl.col("kind").is_in([CLOCK, PHASE])
                ).then(_other_kind)
            )
            .drop("sessions")
            .rename({"showing": "sessions"}),
        ],
        how="diagonal",
    )
    anomalies = with_reasons(_with_evidence(found, expected, through))
    # Sums of floats differ from run to run in their last digits, which nobody needs.
    return FleetCondition(
        expected,
        trends.with_columns(
            cs.float().round(4), pl.col("weekly_level_percent").list.eval(pl.element().round(2))
        ).select(TRENDS.keys()),
        anomalies.select(pl.col(name).cast(kind) for name, kind in ANOMALIES.items()).with_columns(
            cs.float().round(4)
        ),
    )


def find_anomalies(
    sessions: pl.DataFrame, through: datetime, limit_percent: float = 80.0
) -> pl.DataFrame:
    """Return the ANOMALIES of `assess_condition`."""
    return assess_condition(sessions, through, limit_percent).anomalies


_other_kind: Final = (
    pl.when(pl.col("device_kind") == METER).then(pl.lit(VEHICLE)).otherwise(pl.lit(METER))
)


def _losses(rows: pl.DataFrame, trends: pl.DataFrame, through: datetime) -> pl.DataFrame:
    """Devices that lose more than they did, or than others, and by what."""
    suspects = _suspects(trends)
    guilty = _asked(rows, suspects).filter(pl.col("own_chance") >= _OWN)
    asked = _at_fault(_asked(rows, suspects, guilty.select("device_kind", "device_id")))
    unsure = pl.col("own_chance") < _OWN
    certain = pl.Series(ndtr(((asked["size_percent"] - 1) / asked["change_error"]).to_numpy()))
    week = pl.duration(weeks=pl.col("change_week"))
    return asked.with_columns(
        since=pl.lit(through).cast(pl.Datetime("us", "UTC")) + week,
        confidence=certain * pl.when(unsure).then(1.0).otherwise("own_chance"),
        may_be_kind=pl.when(unsure).then(_other_kind),
        partner_id=pl.when(unsure).then("partner_id"),
    ).select(
        "device_kind",
        "device_id",
        "kind",
        "since",
        "confidence",
        "size_percent",
        "slope_percent_a_month",
        "days_to_limit",
        "days_to_limit_low",
        "days_to_limit_high",
        "may_be_kind",
        "partner_id",
        "others",
    )


def _asked(
    rows: pl.DataFrame, suspects: pl.DataFrame, guilty: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Ask whose a loss is: of what has changed less the usual, of what was always low all of it."""
    deviation, spread = pl.col("deviation_percent"), pl.col("spread_percent")
    changed = deviation - pl.col("usual_meter") - pl.col("usual_vehicle")
    was_low = pl.col("kind") == ALWAYS_LOW
    return pl.concat(
        separate(rows, value, spread, _BETWEEN_PERCENT, suspects.filter(which), guilty)
        for value, which in ((changed, ~was_low), (deviation, was_low))
    )


def _at_fault(asked: pl.DataFrame) -> pl.DataFrame:
    """Leave out those whose partners it is, and of a pair of which it may be either the vehicle.

    A pair has most of its sessions together: what can't be told of others has to wait.
    """
    unsure = pl.col("own_chance") < _OWN
    is_pair = pl.col("partner_share") >= _PAIR
    possible = asked.filter(
        (pl.col("level") < 0) & (pl.col("own_chance") > 1 - _OWN) & (~unsure | is_pair)
    )
    sure = possible.filter(~unsure)["device_id"]
    of_charger = possible.filter(unsure & (pl.col("device_kind") == METER))["partner_id"]
    is_told = pl.col("partner_id").is_in(sure.implode()) | (
        (pl.col("device_kind") == VEHICLE) & pl.col("device_id").is_in(of_charger.implode())
    )
    return possible.filter(~unsure | ~is_told)


def _suspects(trends: pl.DataFrame) -> pl.DataFrame:
    """Devices that have fallen and have not risen again, and those that were always low."""
    fallen = (
        (pl.col("z") <= -_SURE_Z)
        & (pl.col("change_percent") <= -SMALLEST_PERCENT)
        & (pl.col("level_percent") - pl.col("usual_percent") <= pl.col("change_percent") / 3)
    )
    middle = pl.col("level_percent").median().over("device_kind")
    spread = _NORMAL * (pl.col("level_percent") - middle).abs().median().over("device_kind")
    below = middle - pl.col("level_percent")
    low = (
        (below >= _LOW_SPREADS * spread)
        & (below >= _LOW_PERCENT)
        & (below >= _SURE_Z * pl.col("level_error"))
    )
    kind = (
        pl.when(fallen & (pl.col("course") == STEP))
        .then(pl.lit(SUDDEN_DROP))
        .when(fallen)
        .then(pl.lit(SLOW_DRIFT))
        .when(low)
        .then(pl.lit(ALWAYS_LOW))
    )
    is_low = pl.col("kind") == ALWAYS_LOW
    return (
        trends.with_columns(kind=kind, below=below)
        .filter(pl.col("kind").is_not_null())
        .with_columns(
            size_percent=pl.when(is_low).then("below").otherwise(-pl.col("change_percent")),
            change_error=pl.when(is_low).then("level_error").otherwise("change_error"),
            change_week=pl.when(is_low).then(-pl.col("weeks")).otherwise("change_week"),
        )
        .drop("level_percent", "sessions", "below")
    )


def _with_evidence(found: pl.DataFrame, expected: pl.DataFrame, through: datetime) -> pl.DataFrame:
    """Add under which circumstances the sessions of each were, and what is at stake."""
    shown_from = pl.max_horizontal("since", pl.lit(through - timedelta(days=_SHOWN_DAYS)))
    year = expected.lazy().filter(pl.col("begins") >= through - _YEAR)
    first = expected["begins"].min()
    assert isinstance(first, datetime)
    to_a_year = _YEAR / (through - max(first, through - _YEAR))
    should_arrive = pl.col("expected_efficiency_percent") / 100
    # What is measured wrongly does not say how much it is: of a meter the other side does, and of a
    # session whose other side is wrong as well the usual one.
    is_energy_wrong = ~pl.col("kind").is_in([*LOSSES, CLOCK, PHASE])
    is_loss = pl.col("kind").is_in(LOSSES)
    faulty = {
        kind: found.filter(is_energy_wrong, device_kind=kind)["device_id"].implode()
        for kind in DEVICE_COLUMNS
    }
    of_meter = (pl.col("device_kind") == METER) & ~pl.col("kind").is_in(LOSSES)
    # A meter that is wrong and seldom used is known as such by nothing but its ratio.
    ratio = 100 * pl.col("energy_dc_kwh") / pl.col("energy_ac_kwh")
    is_far = ((ratio > 0) & ~ratio.is_between(*BELIEVABLE_PERCENT)).fill_null(False)
    measured = (
        pl.when(of_meter & ~pl.col("vehicle_id").is_in(faulty[VEHICLE]))
        .then(pl.col("energy_dc_kwh") / should_arrive)
        .when(~of_meter & ~pl.col("meter_id").is_in(faulty[METER]) & ~(is_loss & is_far))
        .then("energy_ac_kwh")
    )
    evidence = pl.concat(
        year.join(
            found.lazy()
            .filter(pl.col("device_kind") == kind)
            .select("device_kind", "kind", "since", pl.col("device_id").alias(device)),
            on=device,
        )
        .with_columns(shown=pl.col("begins") >= shown_from, measured=measured)
        # Nor by its ratio, where the other side sticks.
        .with_columns(
            measured=pl.when(
                pl.col("measured") <= _MOST_OF_USUAL * pl.col("measured").median().over(device)
            ).then("measured")
        )
        .with_columns(
            pl.col("measured").fill_null(pl.col("measured").mean().over(device)).fill_null(0.0)
        )
        .group_by("device_kind", pl.col(device).alias("device_id"))
        .agg(
            shown_sessions=pl.col("shown").sum().cast(pl.Int64),
            median_temperature=pl.col("average_battery_temp").filter("shown").median(),
            median_power_kw=pl.col("mean_power_ac_kw").filter("shown").median(),
            mean_coverage=pl.min_horizontal("coverage_ac", "coverage_dc").filter("shown").mean(),
            share_linked_by_rule=pl.col("link_source")
            .str.contains("rule", literal=True)
            .fill_null(False)
            .filter("shown")
            .mean(),
            energy_ac_kwh_a_year=pl.col("measured").sum() * to_a_year,
            should_arrive=(pl.col("measured") * should_arrive).sum() * to_a_year,
        )
        for kind, device in DEVICE_COLUMNS.items()
    ).collect()
    energy = pl.col("energy_ac_kwh_a_year")
    lost = pl.col("should_arrive") * (1 - (-pl.col("size_percent") / 100).exp())
    wrong = (
        pl.when(pl.col("kind").is_in([CLOCK, PHASE]))
        .then(0.0)
        .when(pl.col("kind") == SLIPPING)
        .then(energy * pl.col("size") * pl.col("sessions") / pl.col("shown_sessions"))
        .otherwise(energy)
    )
    return (
        found.join(evidence, on=["device_kind", "device_id"], maintain_order="left")
        .with_columns(
            sessions=pl.coalesce("sessions", "shown_sessions"),
            mending_saves_kwh_a_year=pl.when(is_loss).then(lost).otherwise(0.0),
            at_stake_kwh_a_year=pl.when(is_loss).then(lost).otherwise(wrong),
        )
        .filter(pl.col("sessions") >= _FEWEST_SESSIONS)
        .sort("at_stake_kwh_a_year", "device_id", descending=[True, False])
    )
