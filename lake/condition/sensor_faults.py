"""Faults of what measures, not of what charges: registers, units, clocks, links, phases.

Each is judged by the sessions of a device in the last RECENT_DAYS or, of one that is seldom used,
by its last USUAL_SESSIONS of three times as long; FEWEST_SESSIONS are needed. A fault of the AC
side is the meter's, one of the DC side the vehicle's.
"""

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from lake.condition.levels import week_of
from lake.condition.separation import separate
from lake.condition.sessions import DEVICE_COLUMNS, METER, VEHICLE

STUCK: Final = "stuck_register"
SLIPPING: Final = "slipping_register"
SCALE: Final = "wrong_scale"
CLOCK: Final = "clock_error"
PHASE: Final = "missing_phase"
SWAPPED: Final = "swapped_link"

SENSOR_FAULTS: Final = {
    "device_kind": pl.String(),
    "device_id": pl.String(),
    "kind": pl.String(),
    "since": pl.Datetime("us", "UTC"),
    "confidence": pl.Float64(),
    "showing": pl.Int64(),
    "sessions": pl.Int64(),
    "size": pl.Float64(),
    "partner_id": pl.String(),
}
"""Columns of sensor faults.

`showing` of `sessions` show it. `confidence` is the lower end of Wilson's interval (95 %) of that
share, less where it may be the partner's. `since` is the first of them in the time that is looked
at. `size`: the factor of a wrong scale, the part of the energy that a slipping register loses, the
part of the power that is left, the part of the energy that flowed at other times by the other
clock. `partner_id` is the meter that fits instead, of a swapped link, or the device that may as
well be at fault."""

RECENT_DAYS: Final = 28
USUAL_SESSIONS: Final = 10
FEWEST_SESSIONS: Final = 6

FACTORS: Final = (1000.0, 60.0, 12.0, 4.0)
"""Wh for kWh; kW for kWh of a minute, of five, of a quarter of an hour. And their inverses."""

Recent = dict[str, pl.DataFrame]
"""The sessions that a kind of device is judged by."""

_MISSING: Final = 2e-4  # part of the other side's energy: less than any wrong unit leaves
_MOST: Final = 0.8
_UNMATCHED: Final = 0.8
_ALIKE: Final = 0.15  # in logarithms, about as in parts
_OFF_SPREADS: Final = 4.0
_LEAST_OFF: Final = 0.05
_LEAST_SLIPPING: Final = 0.2
_FEWEST_SLIPPING: Final = 8
_LEAST_SWAPPED: Final = 0.4
_ALIKE_ELSEWHERE: Final = 0.2  # another class of charger, another power
_FEWEST_OF_A_PAIR: Final = 8
_NORMAL: Final = 1.4826
_PHASES_LEFT: Final = (2 / 3, 1 / 3)
_OWN: Final = 0.9
_PAIR: Final = 0.5
_WILSON: Final = 1.96


def sensor_faults(expected: pl.DataFrame, through: datetime) -> pl.DataFrame:
    """Return SENSOR_FAULTS from sessions of `expected_efficiency`, at most one for each device."""
    rows = _judged(expected, through)
    recent = {kind: _recent(rows, kind, through) for kind in DEVICE_COLUMNS}
    found = pl.concat(
        [
            _one_side(recent, STUCK, {METER: pl.col("no_ac"), VEHICLE: pl.col("no_dc")}, _MOST),
            _scale(recent),
            _clock(recent),
            _swapped(recent),
            _slipping(recent),
            _phase(recent),
        ]
    )
    return found.select(*SENSOR_FAULTS).unique(
        ["device_kind", "device_id"], keep="first", maintain_order=True
    )


def _recent(rows: pl.DataFrame, kind: str, through: datetime) -> pl.DataFrame:
    number = pl.col("begins").rank("ordinal", descending=True).over(DEVICE_COLUMNS[kind])
    days = timedelta(days=RECENT_DAYS)
    near = rows.filter(pl.col("begins") >= through - 3 * days)
    return near.filter((pl.col("begins") >= through - days) | (number <= USUAL_SESSIONS))


def _judged(expected: pl.DataFrame, through: datetime) -> pl.DataFrame:
    ac, dc = pl.col("energy_ac_kwh"), pl.col("energy_dc_kwh")
    power = pl.col("peak_power_ac_kw")
    log_ratio = (dc / ac / pl.col("expected_efficiency_percent") * 100).log()
    typical = power.median().over("charger_class")
    # A power that is a thousand times too high says nothing of what should arrive.
    usual = pl.col("expected_efficiency_percent").median().over("charger_class")
    pair = ("meter_id", "vehicle_id")

    def left_of(group: tuple[str, str]) -> pl.Expr:
        return pl.when(power > 0).then((power / power.quantile(0.9).over(group)).log())

    is_usual = pl.len().over(pair) >= _FEWEST_OF_A_PAIR
    middle = (
        pl.when(is_usual)
        .then(pl.col("log_ratio").median().over(pair))
        .otherwise(pl.col("log_ratio").median().over("meter_id"))
    )
    before = pl.col("begins") < through - timedelta(days=RECENT_DAYS)
    strays = (pl.col("log_ratio") - middle).abs()
    return (
        expected.lazy()
        .with_columns(
            week=week_of(through),
            no_ac=(ac <= _MISSING * dc) & (dc >= 1),
            no_dc=(dc <= _MISSING * ac) & (ac >= 1),
            log_ratio=pl.when((ac > 0) & (dc > 0)).then(log_ratio),
            usual_log_ratio=pl.when((ac > 0) & (dc > 0)).then((dc / ac / usual * 100).log()),
            # A fault is told by its own pair alone: elsewhere a vehicle may take another power.
            power_left=pl.when(is_usual).then(left_of(pair)),
            power_anywhere=left_of(("vehicle_id", "charger_class")),
            strange_ac=(power / typical).log().abs(),
            strange_dc=(pl.col("peak_power_dc_kw") / typical).log().abs(),
        )
        .with_columns(
            # Of a charger that tells its energy seldom more than of others of its class.
            usual_stray=_NORMAL
            * pl.when(before).then(strays).median().over("meter_id").fill_null(0.0),
            is_unmatched=(pl.col("matched_energy_ac_kwh") < _UNMATCHED * ac)
            & (pl.col("log_ratio").abs() < _ALIKE).fill_null(False),
        )
        .collect()
    )


def _one_side(
    recent: Recent,
    kind: str,
    shows: dict[str, pl.Expr],
    least: float,
    size: pl.Expr | None = None,
) -> pl.DataFrame:
    """Devices of which at least such a share of the sessions shows it."""
    return pl.concat(
        [
            recent[device]
            .lazy()
            .with_columns(shows=flag.fill_null(False))
            .group_by(pl.col(DEVICE_COLUMNS[device]).alias("device_id"))
            .agg(
                since=pl.col("begins").filter("shows").min(),
                showing=pl.col("shows").sum().cast(pl.Int64),
                sessions=pl.len().cast(pl.Int64),
                size=pl.lit(None, pl.Float64) if size is None else size.filter("shows").median(),
            )
            .filter(
                (pl.col("sessions") >= FEWEST_SESSIONS)
                & (pl.col("showing") >= least * pl.col("sessions"))
            )
            .sort("device_id")
            .with_columns(
                device_kind=pl.lit(device),
                kind=pl.lit(kind),
                confidence=_wilson(pl.col("showing"), pl.col("sessions")),
                partner_id=pl.lit(None, pl.String),
            )
            .select(pl.col(name).cast(type_) for name, type_ in SENSOR_FAULTS.items())
            for device, flag in shows.items()
        ]
    ).collect()


def _scale(recent: Recent) -> pl.DataFrame:
    """A ratio that is a unit's factor off; the side whose power is stranger is the wrong one."""
    log_ratio = pl.col("usual_log_ratio")
    factors = [factor**sign for factor in FACTORS for sign in (1, -1)]
    nearest = pl.coalesce(
        pl.when((log_ratio - pl.lit(factor).log()).abs() < _ALIKE_ELSEWHERE).then(pl.lit(factor))
        for factor in factors
    )
    rows = {kind: sessions.with_columns(factor=nearest) for kind, sessions in recent.items()}
    is_ac = pl.col("strange_ac") > pl.col("strange_dc")
    return pl.concat(
        [
            _one_side(rows, SCALE, {METER: _is_set & is_ac}, _MOST, 1 / pl.col("factor")),
            _one_side(rows, SCALE, {VEHICLE: _is_set & ~is_ac}, _MOST, pl.col("factor")),
        ]
    )


_is_set: Final = pl.col("factor").is_not_null()


def _clock(recent: Recent) -> pl.DataFrame:
    """Energies that agree, and flowed at other times; of both devices the one with all others."""
    unmatched = pl.col("is_unmatched")
    share = 1 - pl.col("matched_energy_ac_kwh") / pl.col("energy_ac_kwh")
    found = _one_side(recent, CLOCK, {METER: unmatched, VEHICLE: unmatched}, _MOST, share)
    return _own(recent, found, unmatched.cast(pl.Float64), 0.3)


def _phase(recent: Recent) -> pl.DataFrame:
    """Two thirds, or one, of the power that the vehicle used to take at the charger."""
    left = pl.col("power_left")
    told = {kind: rows.filter(left.is_not_null()) for kind, rows in recent.items()}
    found = [
        _one_side(told, PHASE, {METER: shows, VEHICLE: shows}, _MOST, left.exp())
        for part in _PHASES_LEFT
        for shows in [((left - pl.lit(part).log()).abs() < _ALIKE)]
    ]
    return _own(recent, pl.concat(found), pl.coalesce(left, "power_anywhere"), 0.1)


def _own(recent: Recent, found: pl.DataFrame, value: pl.Expr, error: float) -> pl.DataFrame:
    """Keep those whose it is by their sessions with others; of a pair that has none the meter."""
    suspects = found.drop("partner_id").with_columns(change_week=pl.lit(-3 * RECENT_DAYS // 7))
    rows = pl.concat(recent.values()).unique(["meter_id", "vehicle_id", "begins"])
    asked = separate(rows, value, pl.lit(error), error, suspects)
    is_sure = pl.col("own_chance") > _OWN
    is_pair = (pl.col("own_chance") >= 0.5) & (pl.col("partner_share") >= _PAIR)
    return (
        asked.filter(is_sure | ((pl.col("device_kind") == METER) & is_pair))
        .with_columns(
            confidence=pl.col("confidence") * pl.when(is_sure).then("own_chance").otherwise(1.0),
            partner_id=pl.when(~is_sure).then("partner_id"),
        )
        .select(*SENSOR_FAULTS)
    )


def _slipping(recent: Recent) -> pl.DataFrame:
    """Sessions that lack energy of one side, now and then."""
    parts = []
    for device, sign in ((METER, 1), (VEHICLE, -1)):
        name = DEVICE_COLUMNS[device]
        off = sign * (
            pl.col("log_ratio") - pl.col("log_ratio").median().over(name, "charger_class")
        )
        spread = pl.max_horizontal(pl.col("spread_percent") / 100, "usual_stray")
        least = (_OFF_SPREADS * spread).clip(lower_bound=_LEAST_OFF)
        rows = recent[device].with_columns(off=off, least=least)
        lacks, exceeds = pl.col("off") > pl.col("least"), pl.col("off") < -pl.col("least")
        lost = 1 - (-pl.col("off").abs()).exp()
        found = _one_side({device: rows}, SLIPPING, {device: lacks}, _LEAST_SLIPPING, lost)
        contrary = rows.group_by(device_id=name).agg(contrary=exceeds.sum())
        one_sided = _wilson(pl.col("showing"), pl.col("showing") + pl.col("contrary"))
        parts.append(
            found.join(contrary, on="device_id", maintain_order="left")
            .filter(pl.col("showing") >= _FEWEST_SLIPPING)
            .with_columns(confidence=one_sided)
            .select(*SENSOR_FAULTS)
        )
    return pl.concat(parts)


def _swapped(recent: Recent) -> pl.DataFrame:
    """Meters whose energy does not fit their vehicle's, and fits that of another such pair."""
    ratio, dated = pl.col("log_ratio"), recent[METER].with_columns(date=pl.col("begins").dt.date())
    unsteady = (
        dated.group_by("meter_id", "vehicle_id")
        .agg(
            sessions=pl.len(),
            far=(ratio.abs() > _ALIKE).mean(),
            strays=(ratio - ratio.median()).abs().median(),
        )
        .filter(
            (pl.col("sessions") >= FEWEST_SESSIONS)
            & (pl.col("far") >= _LEAST_SWAPPED)
            & (pl.col("strays") >= _ALIKE)
        )
    )
    energies = (
        dated.join(unsteady, on=["meter_id", "vehicle_id"])
        .group_by("meter_id", "vehicle_id", "date")
        .agg(
            pl.col("energy_ac_kwh").sum(),
            pl.col("energy_dc_kwh").sum(),
            pl.col("expected_efficiency_percent").mean(),
            pl.col("begins").min(),
        )
        .filter(pl.col("energy_dc_kwh") >= 1)
    )
    others = energies.filter(pl.col("energy_ac_kwh") >= 1).select(
        "date", "energy_ac_kwh", other="meter_id"
    )
    fits = (
        pl.col("energy_dc_kwh")
        / pl.col("energy_ac_kwh_right")
        / pl.col("expected_efficiency_percent")
        * 100
    ).log().abs() < _ALIKE_ELSEWHERE
    return (
        energies.join(others, on="date", suffix="_right")
        .filter(pl.col("meter_id") != pl.col("other"))
        .with_columns(fits=fits)
        .group_by("meter_id", "other")
        .agg(
            showing=pl.col("fits").sum().cast(pl.Int64),
            sessions=pl.len().cast(pl.Int64),
            since=pl.col("begins").filter("fits").min(),
        )
        .filter(
            (pl.col("sessions") >= FEWEST_SESSIONS)
            & (pl.col("showing") >= _MOST * pl.col("sessions"))
        )
        .sort("showing", "other", descending=[True, False])
        .unique("meter_id", keep="first", maintain_order=True)
        .sort("meter_id")
        .with_columns(
            device_kind=pl.lit(METER),
            device_id="meter_id",
            kind=pl.lit(SWAPPED),
            confidence=_wilson(pl.col("showing"), pl.col("sessions")),
            size=pl.lit(None, pl.Float64),
            partner_id="other",
        )
        .select(*SENSOR_FAULTS)
    )


def _wilson(showing: pl.Expr, sessions: pl.Expr) -> pl.Expr:
    """Lower end of Wilson's interval (1927) of a share."""
    share, squared = showing / sessions, _WILSON**2
    spread = _WILSON * (share * (1 - share) / sessions + squared / (4 * sessions**2)).sqrt()
    return (share + squared / (2 * sessions) - spread) / (1 + squared / sessions)
