"""Notebook of the fleet's efficiency: its days, vehicles, chargers and charging sessions.

Opened with marimo it shows its tables and charts; as a script it prints the tables and writes the
charts to a page. From the folder of the project:

    LAKE_URI=FOLDER/lake .venv/bin/marimo edit docs/notebooks/efficiency.py
    LAKE_URI=FOLDER/lake .venv/bin/python docs/notebooks/efficiency.py
"""

import marimo

app = marimo.App(app_title="Efficiency of the fleet")


@app.cell
def _():
    import os

    import altair as alt
    import marimo as mo
    import polars as pl

    # A folder, or the URL of an object store.
    LAKE = os.environ.get("LAKE_URI", "lake")
    return LAKE, alt, mo, pl


@app.cell
def _(mo):
    mo.md(
        """
        # Efficiency of the fleet

        Energies are added up, exactly, and divided at the end: a mean of ratios is wrong.
        """
    )


@app.cell
def _(LAKE, pl):
    def scan(table: str) -> pl.LazyFrame:
        """Scan a table of the lake, to be filtered before it is collected."""
        return pl.scan_delta(f"{LAKE}/{table}")

    rated = pl.col("status").is_in(["excellent", "good", "warning", "critical"])

    def by(rows: pl.LazyFrame, *keys: str) -> pl.DataFrame:
        """Energies, loss and efficiency of groups of rated rows; the least efficient first."""
        ac = pl.col("matched_energy_ac_kwh").sum().round(9)
        dc = pl.col("matched_energy_dc_kwh").sum().round(9)
        return (
            rows.filter(rated)
            .group_by(*keys)
            .agg(ac_kwh=ac, dc_kwh=dc, loss_kwh=(ac - dc).round(9), efficiency=100 * dc / ac)
            .sort("efficiency")
            .collect()
        )

    return by, rated, scan


@app.cell
def _(mo, scan):
    fleet = scan("fleet_efficiency_daily").sort("date").collect()
    of_days = fleet.select("date", "efficiency_percent", "loss_kwh", "cost_of_losses", "currency")
    print(of_days)
    mo.vstack([mo.md("## Day by day, and what it cost"), of_days])
    return (fleet,)


@app.cell
def _(alt, fleet):
    days = (
        alt.Chart(fleet.select("date", "efficiency_percent"))
        .mark_line(point=True)
        .encode(
            x=alt.X("date:T", title="UTC day"),
            y=alt.Y("efficiency_percent:Q", title="efficiency, %", scale=alt.Scale(zero=False)),
        )
        .properties(title="The fleet by day", width=600, height=200)
    )
    days  # noqa: B018 - shown
    return (days,)


@app.cell
def _(by, mo, pl, scan):
    last = scan("vehicle_efficiency_daily").select(pl.col("date").max()).collect().item()
    week = pl.col("date") > last - pl.duration(days=7)
    vehicles = by(scan("vehicle_efficiency_daily").filter(week), "vehicle_id")
    print(vehicles.head(10))
    mo.vstack([mo.md("## Vehicles of the last week, the least efficient first"), vehicles])
    return last, vehicles, week


@app.cell
def _(alt, vehicles):
    spread = (
        alt.Chart(vehicles)
        .mark_bar()
        .encode(
            x=alt.X("efficiency:Q", bin=alt.Bin(step=1), title="efficiency, %"),
            y=alt.Y("count()", title="vehicles"),
        )
        .properties(title="Vehicles of the last week", width=600, height=200)
    )
    spread  # noqa: B018 - shown
    return (spread,)


@app.cell
def _(by, mo, scan, week):
    chargers = by(scan("charger_efficiency_daily").filter(week), "meter_id", "charger_class")
    print(chargers.head(10))
    mo.vstack(
        [
            mo.md("## Chargers: one that is low with every vehicle fails; with one it does not"),
            chargers,
        ]
    )


@app.cell
def _(last, mo, pl, rated, scan):
    sessions = (
        scan("charging_session")
        .filter(rated, pl.col("date") > last - pl.duration(days=7))
        .select("session_id", "charger_class", "mean_power_ac_kw", "efficiency_percent", "loss_kwh")
        .collect()
    )
    print(sessions.describe())
    mo.md("## Sessions: a charger loses most of its percents at little power")
    return (sessions,)


@app.cell
def _(alt, sessions):
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
    power  # noqa: B018 - shown
    return (power,)


@app.cell
def _(alt, days, mo, power, spread):
    if mo.app_meta().mode == "script":
        alt.vconcat(days, spread, power).save("efficiency.html")


if __name__ == "__main__":
    app.run()
