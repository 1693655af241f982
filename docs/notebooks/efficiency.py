"""Notebook of the fleet's efficiency: its days, vehicles, chargers and charging sessions.

Cells begin with `# %%`: VS Code, PyCharm and Spyder run them one by one, Jupyter with jupytext. As
a script, from the folder of the project, it prints its tables and writes its charts to a page:

    LAKE_URI=FOLDER/lake .venv/bin/python docs/notebooks/efficiency.py
"""

# %% The lake: a folder, or the URL that LAKE_URI names
import os

import altair as alt
import polars as pl

LAKE = os.environ.get("LAKE_URI", "lake")


def scan(table: str) -> pl.LazyFrame:
    """Scan a table of the lake, to be filtered before it is collected."""
    return pl.scan_delta(f"{LAKE}/{table}")


# Energies are added up, exactly, and divided at the end: a mean of ratios is wrong.
AC = pl.col("matched_energy_ac_kwh").sum().round(9)
DC = pl.col("matched_energy_dc_kwh").sum().round(9)
RATED = pl.col("status").is_in(["excellent", "good", "warning", "critical"])


def by(rows: pl.LazyFrame, *keys: str) -> pl.DataFrame:
    """Energies, loss and efficiency of groups of rated rows; the least efficient first."""
    return (
        rows.filter(RATED)
        .group_by(*keys)
        .agg(ac_kwh=AC, dc_kwh=DC, loss_kwh=(AC - DC).round(9), efficiency=100 * DC / AC)
        .sort("efficiency")
        .collect()
    )


# %% The fleet, day by day: the figures of the table, and what they cost
fleet = scan("fleet_efficiency_daily").sort("date").collect()
print(fleet.select("date", "efficiency_percent", "loss_kwh", "cost_of_losses", "currency"))
days = (
    alt.Chart(fleet.select("date", "efficiency_percent"))
    .mark_line(point=True)
    .encode(
        x=alt.X("date:T", title="UTC day"),
        y=alt.Y("efficiency_percent:Q", title="efficiency, %", scale=alt.Scale(zero=False)),
    )
    .properties(title="The fleet by day", width=600, height=200)
)

# %% The vehicles of the last week with data, the least efficient first
last = scan("vehicle_efficiency_daily").select(pl.col("date").max()).collect().item()
week = pl.col("date") > last - pl.duration(days=7)
vehicles = by(scan("vehicle_efficiency_daily").filter(week), "vehicle_id")
print(vehicles.head(10))
spread = (
    alt.Chart(vehicles)
    .mark_bar()
    .encode(
        x=alt.X("efficiency:Q", bin=alt.Bin(step=1), title="efficiency, %"),
        y=alt.Y("count()", title="vehicles"),
    )
    .properties(title="Vehicles of the last week", width=600, height=200)
)

# %% Chargers: one that is low with every vehicle is failing, with a single one it is not
chargers = by(scan("charger_efficiency_daily").filter(week), "meter_id", "charger_class")
print(chargers.head(10))

# %% Sessions: a charger loses most of its percents at little power
sessions = (
    scan("charging_session")
    .filter(RATED, pl.col("date") > last - pl.duration(days=7))
    .select("session_id", "charger_class", "mean_power_ac_kw", "efficiency_percent", "loss_kwh")
    .collect()
)
print(sessions.describe())
power = (
    alt.Chart(sessions)
    .mark_circle()
    .encode(
        x=alt.X("mean_power_ac_kw:Q", title="mean AC power, kW"),
        y=alt.Y("efficiency_percent:Q", title="efficiency, %", scale=alt.Scale(zero=False)),
        color=alt.Color("charger_class:N", title="class of the charger"),
        tooltip=["session_id:N", "loss_kwh:Q"],
    )
    .properties(title="Sessions of the last week", width=600, height=250)
)

# %% All charts as a page
alt.vconcat(days, spread, power).save("efficiency.html")
