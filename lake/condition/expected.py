"""Expected efficiency: what a charger class reaches at a power and a temperature, by the fleet.

The part of the energy that is lost is fitted as

    loss = (a + h10 cool + h0 frost) / P + b + c10 cool + c0 frost + r P
    cool = max(0, 10 - T), frost = max(0, -T)

with the mean AC power P (kW) and the battery's temperature T (degrees Celsius), all coefficients at
least 0: electronics and a battery's heater take a power that does not grow with the charge, the
copper's part grows with it. So the efficiency rises with power while that is low, and falls with
cold, whatever the data. Non-negative least squares: Lawson and Hanson (1974), by scipy.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.optimize import nnls

from lake.condition.sessions import DEVICE_COLUMNS

Floats = npt.NDArray[np.float64]

_POWER: Final = pl.col("mean_power_ac_kw")
_COOL: Final = (10 - pl.col("temperature")).clip(lower_bound=0)
_FROST: Final = (-pl.col("temperature")).clip(lower_bound=0)
_TERMS: Final = {
    "standing_kw": 1 / _POWER,
    "heater_kw_per_degree_below_10": _COOL / _POWER,
    "heater_kw_per_degree_below_0": _FROST / _POWER,
    "share": pl.lit(1.0),
    "share_per_degree_below_10": _COOL,
    "share_per_degree_below_0": _FROST,
    "share_per_kw": _POWER,
}
_OF_COLD: Final = [name for name in _TERMS if "below" in name]
_LIMITS: Final = ("power_from_kw", "power_to_kw", "temperature_from", "temperature_to")

# Columns of a model: one row a class, and one with `charger_class` null for all that have none.
MODEL: Final = {
    "charger_class": pl.String(),
    "sessions": pl.Int64(),
    "vehicles": pl.Int64(),
    **dict.fromkeys((*_LIMITS, *_TERMS, "spread_percent", "spread_kwh"), pl.Float64()),
}

FEWEST_SESSIONS: Final = 200
FEWEST_VEHICLES: Final = 5
"""A class with less has the model of all classes together."""

_CELLS_AN_OCTAVE: Final = 4
_DEGREES_A_CELL: Final = 4
_FEWEST_IN_A_CELL: Final = 5
_FEWEST_VEHICLES_IN_A_CELL: Final = 3
_ROUNDS: Final = 2
_LEAST_UNHEALTHY_PERCENT: Final = 2.0
_ENERGY_BINS: Final = 8
_FEWEST_OF_A_PAIR: Final = 8
_NORMAL: Final = 1.4826
"""Standard deviation of a normal distribution by its median absolute deviation."""


class TooFewSessions(ValueError):
    """A fleet has too few sessions for an expected efficiency."""


def fit_expected(prepared: pl.DataFrame) -> pl.DataFrame:
    """Return the model of MODEL from sessions of `prepare_sessions`; empty where there are too few.

    Medians of cells of power and temperature are fitted. Then the devices that are far below the
    others are left out, and it is fitted again: what the fleet's healthy sessions reach.
    `spread_percent` and `spread_kwh` say how far one session of a healthy pair strays:
    the variance is spread_percent^2 + (100 spread_kwh / energy)^2, in percent of the expected.
    """
    healthy = prepared.filter("is_measured").with_columns(
        deviation=pl.lit(0.0), loss=1 - pl.col("efficiency_percent") / 100
    )
    model = _fits(healthy)
    for _ in range(_ROUNDS):
        healthy = _healthy(_with_deviation(healthy, model))
        model = _fits(healthy)
    return _with_spreads(_with_deviation(healthy, model), model)


def expected_efficiency(prepared: pl.DataFrame, model: pl.DataFrame) -> pl.DataFrame:
    """Add `expected_efficiency_percent`, `deviation_percent`, `spread_percent`, `cold_percent`.

    `cold_percent` is the part that is expected to be lost for the battery is below 10 degrees.
    `deviation_percent` is 100 ln(efficiency / expected): minus 5 says that about 5 % of what should
    arrive does not; null where the session's ratio does not count. Outside the powers and
    temperatures that were fitted the nearest fitted one counts.
    """
    rows = _with_deviation(prepared, model, "spread_percent", "spread_kwh")
    of_energy = 100 * pl.col("spread_kwh") / pl.col("matched_energy_ac_kwh")
    return rows.with_columns(
        deviation_percent=pl.when("is_measured").then("deviation"),
        spread_percent=(pl.col("spread_percent") ** 2 + of_energy**2).sqrt(),
    ).drop("deviation", "spread_kwh")


def excess_loss(expected: pl.DataFrame) -> pl.DataFrame:
    """Add `excess_loss_kwh`: what was lost beyond the expected; negative: less was.

    AC energy * (expected - reached efficiency).
    """
    below = pl.col("expected_efficiency_percent") - pl.col("efficiency_percent")
    loss = (pl.col("matched_energy_ac_kwh") * below / 100).round(9)
    return expected.with_columns(excess_loss_kwh=pl.when("is_measured").then(loss))


def _fits(healthy: pl.DataFrame) -> pl.DataFrame:
    by_class = [
        (name, rows)
        for (name,), rows in healthy.group_by("charger_class", maintain_order=True)
        if name is not None
    ]
    fits = [_fit(name, rows) for name, rows in [*by_class, (None, healthy)]]
    return pl.DataFrame([fit for fit in fits if fit is not None], schema=MODEL)


def _fit(name: object, rows: pl.DataFrame) -> dict[str, object] | None:
    vehicles = rows["vehicle_id"].n_unique()
    if rows.height < FEWEST_SESSIONS or vehicles < FEWEST_VEHICLES:
        return None
    cells = (
        rows.lazy()
        .group_by(
            (_POWER.log(2) * _CELLS_AN_OCTAVE).floor().alias("power_cell"),
            (pl.col("temperature") / _DEGREES_A_CELL).floor().alias("temperature_cell"),
        )
        .agg(
            _POWER.median(),
            pl.col("temperature").median(),
            pl.col("loss").median(),
            weight=pl.col("vehicle_id").n_unique().sqrt(),
            sessions=pl.len(),
            vehicles=pl.col("vehicle_id").n_unique(),
        )
        .filter(
            (pl.col("sessions") >= _FEWEST_IN_A_CELL)
            # what one device alone shows there may be its fault
            & (pl.col("vehicles") >= _FEWEST_VEHICLES_IN_A_CELL)
        )
        .sort("power_cell", "temperature_cell")
        .collect()
    )
    if cells.is_empty():
        return None
    terms = cells.select(**_TERMS).to_numpy() * cells["weight"].to_numpy()[:, None]
    coefficients, _ = nnls(terms, (cells["loss"] * cells["weight"]).clip(lower_bound=0).to_numpy())
    temperature = cells["temperature"]
    return {
        "charger_class": name,
        "sessions": rows.height,
        "vehicles": vehicles,
        "power_from_kw": cells["mean_power_ac_kw"].min(),
        "power_to_kw": cells["mean_power_ac_kw"].max(),
        "temperature_from": temperature.min(),
        "temperature_to": temperature.max(),
        **dict(zip(_TERMS, coefficients.tolist(), strict=True)),
    }


def _with_deviation(rows: pl.DataFrame, model: pl.DataFrame, *more: str) -> pl.DataFrame:
    """Add `expected_efficiency_percent`, `cold_percent`, `deviation`, and more of the model."""
    columns = (*_LIMITS, *_TERMS, *more)
    general = model.filter(pl.col("charger_class").is_null()).select(columns)
    if general.is_empty():
        raise TooFewSessions(
            f"an expected efficiency needs at least {FEWEST_SESSIONS} sessions of "
            f"{FEWEST_VEHICLES} vehicles; wait until there are so many"
        )
    terms = {f"_{name}": pl.col(f"_{name}").fill_null(general[name].item()) for name in columns}
    bounded = {
        "mean_power_ac_kw": pl.min_horizontal(
            pl.max_horizontal(_POWER, "_power_from_kw"), "_power_to_kw"
        ),
        "temperature": pl.min_horizontal(
            pl.max_horizontal("temperature", "_temperature_from"), "_temperature_to"
        ),
    }
    loss = pl.sum_horizontal(pl.col(f"_{name}") * term for name, term in _TERMS.items())
    cold = pl.sum_horizontal(pl.col(f"_{name}") * _TERMS[name] for name in _OF_COLD)
    expected = (
        rows.lazy()
        .select("charger_class", "mean_power_ac_kw", "temperature")
        .join(
            model.lazy().select("charger_class", *(pl.col(n).alias(f"_{n}") for n in columns)),
            on="charger_class",
            how="left",
            maintain_order="left",
        )
        .with_columns(**terms)
        .with_columns(**bounded)
        .select(
            expected_efficiency_percent=100 * (1 - loss),
            cold_percent=100 * ((1 - loss + cold) / (1 - loss)).log(),
            **{name: pl.col(f"_{name}") for name in more},
        )
        .collect()
    )
    ratio = pl.col("efficiency_percent") / pl.col("expected_efficiency_percent")
    return rows.with_columns(expected).with_columns(deviation=100 * ratio.log())


def _healthy(rows: pl.DataFrame) -> pl.DataFrame:
    """Leave out the sessions of devices that are far below the others."""
    for device in DEVICE_COLUMNS.values():
        levels = rows.group_by(device).agg(level=pl.col("deviation").median())
        middle = levels["level"].median()
        away = (levels["level"] - middle).abs().median()
        assert isinstance(away, float)
        most = max(3 * _NORMAL * away, _LEAST_UNHEALTHY_PERCENT)
        healthy = levels.filter(pl.col("level") - middle >= -most)
        rows = rows.join(healthy, on=device, how="semi", maintain_order="left")
    return rows


def _with_spreads(rows: pl.DataFrame, model: pl.DataFrame) -> pl.DataFrame:
    """Add how far sessions stray, by class: from the median of their pair, else of the charger."""
    pair = ("meter_id", "vehicle_id")
    middle = (
        pl.when(pl.len().over(pair) >= _FEWEST_OF_A_PAIR)
        .then(pl.col("deviation").median().over(pair))
        .otherwise(pl.col("deviation").median().over("meter_id"))
    )
    strays = rows.select(
        "charger_class", energy="matched_energy_ac_kwh", strays=pl.col("deviation") - middle
    )
    spreads = [
        _spread(strays if name is None else strays.filter(pl.col("charger_class") == name))
        for name in model["charger_class"]
    ]
    percent, kwh = zip(*spreads, strict=True)
    return model.with_columns(
        spread_percent=pl.Series(percent, dtype=pl.Float64),
        spread_kwh=pl.Series(kwh, dtype=pl.Float64),
    )


def _spread(rows: pl.DataFrame) -> tuple[float, float]:
    rank = pl.col("energy").rank("ordinal") * _ENERGY_BINS // (pl.len() + 1)
    bins = (
        rows.group_by(rank.alias("bin"))
        .agg(
            pl.col("energy").median(),
            variance=(_NORMAL * pl.col("strays").abs().median()) ** 2,
        )
        .sort("bin")
    )
    terms = np.column_stack((np.ones(bins.height), (100 / bins["energy"].to_numpy()) ** 2))
    variances: Floats = bins["variance"].to_numpy()
    # Relative errors: the bins of large sessions have small variances, and count as much.
    weight = 1 / np.maximum(variances, 1e-6)
    found, _ = nnls(terms * weight[:, None], variances * weight)
    percent, kwh = np.sqrt(found).tolist()
    return max(percent, 0.1), kwh
