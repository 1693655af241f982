"""The report of a day as one HTML page and as CSV."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lake import EnergySettings
from lake.csv_injection import escape_frame
from lake.energy import REASONS, RULE, STATUSES, lowest_efficiency
from pipelines.report.chart import day_chart
from pipelines.report.figures import DayFigures

_WORST = 10
_NAMED = 30
_MEANINGS = {
    "excellent": "above {excellent_above_percent:g} %",
    "good": "{good_from_percent:g} to {excellent_above_percent:g} %",
    "warning": "{warning_from_percent:g} to {good_from_percent:g} %",
    "critical": "below {warning_from_percent:g} %",
    "idle": "hardly any energy",
    "insufficient_data": "too little is known, or not believed",
    "unmapped": "linked to no meter",
    "implausible": "a sensor or a link is wrong",
}
_EXPLAINED = {
    "implausible": "More energy in the battery than came from the grid, so little that something "
    "would burn, or energy on one side only. Look for a wrong link, a frozen register or a faulty "
    "sensor.",
    "unmapped": "These vehicles sent heartbeats, but nothing says which meter feeds them.",
    "insufficient_data": "Too much of the energy flowed while the other side was not known, at a "
    "time that nobody knows, or is told by readings that can't be believed.",
}


@dataclass(frozen=True)
class Status:
    """Number of vehicles with a status, and its meaning."""

    name: str
    label: str
    meaning: str
    count: int


@dataclass(frozen=True)
class Group:
    """Vehicles that need attention."""

    title: str
    explanation: str
    count: int
    vehicles: Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class Quality:
    """Notes on the quality of the figures."""

    duplicates: int
    resets: int
    left_out: int
    conflicts: int
    unplaced_kwh: float
    gap_minutes: float
    vehicles_with_gaps: int
    guessed_links: int
    groups: Sequence[Group]


def html_page(figures: DayFigures, lake_uri: str, settings: EnergySettings) -> str:
    """The self-contained page: no script, and nothing that is loaded from elsewhere."""
    environment = Environment(
        loader=PackageLoader("pipelines.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters.update(number=number, energy=energy, label=_label, reason=_reason)
    hours = _full_day(figures.hours)
    return environment.get_template("efficiency.html.j2").render(
        day=figures,
        fleet=next(figures.fleet.iter_rows(named=True), {}),
        hours=list(figures.hours.iter_rows(named=True)),
        statuses=_statuses(figures.vehicles, settings),
        depots=list(figures.depots.iter_rows(named=True)),
        worst=lowest_efficiency(figures.vehicles.lazy(), _WORST).collect().to_dicts(),
        quality=_quality(figures.vehicles, settings),
        # Drawn from numbers alone, hence safe as it is.
        chart_wide=Markup(day_chart(hours, settings.good_from_percent, width=760)),
        chart_narrow=Markup(day_chart(hours, settings.good_from_percent, width=290)),
        sources=figures.sources,
        limits=settings,
        lake_uri=lake_uri,
    )


def csv_table(figures: DayFigures) -> str:
    """The figures of the page: a row for the fleet, then one for each vehicle.

    Energies in kWh, shares 0-1, efficiency in percent; an empty field is not known.
    """
    day = pl.lit(figures.day)
    fleet = figures.fleet.drop("date").select(day.alias("date"), scope=pl.lit("fleet"))
    totals = pl.concat([fleet, figures.fleet.drop("date", "hours")], how="horizontal")
    vehicles = figures.vehicles.drop("date").select(
        day.alias("date"),
        pl.lit("vehicle").alias("scope"),
        pl.all().exclude("meter_ids"),
        pl.col("meter_ids").list.join(" "),
    )
    table = pl.concat([vehicles.clear(), totals, vehicles], how="diagonal")
    return escape_frame(table).write_csv()


def number(value: float | Decimal | None, decimals: int = 0) -> str:
    """A figure with thin spaces between thousands; a dash where it is not known."""
    if value is None:
        return "\N{EN DASH}"
    text = f"{value:,.{decimals}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    # -0.0 is what rounding leaves of noise.
    return text.removeprefix("-") if float(f"{value:.{decimals}f}") == 0 else text


def energy(value: float | None) -> str:
    """An amount of energy with its unit, in words where it is not known."""
    return "not known" if value is None else f"{number(value, 2)} kWh"


def _label(status: str) -> str:
    return status.replace("_", " ")


def _reason(code: str) -> str:
    """What a status rests on, in words."""
    return REASONS[code]


def _statuses(vehicles: pl.DataFrame, settings: EnergySettings) -> list[Status]:
    counts = dict(vehicles["status"].value_counts().iter_rows())
    limits = settings.model_dump()
    return [
        Status(name, _label(name), _MEANINGS[name].format_map(limits), counts.get(name, 0))
        for name in STATUSES
    ]


def _quality(vehicles: pl.DataFrame, settings: EnergySettings) -> Quality:
    is_silent = pl.col("longest_gap_seconds") > settings.largest_gap_seconds
    return Quality(
        duplicates=int(vehicles["duplicates"].sum()),
        resets=int(vehicles["resets"].sum()),
        left_out=sum(int(vehicles[f"left_out_{side}"].sum()) for side in ("ac", "dc")),
        conflicts=sum(int(vehicles[f"conflicts_{side}"].sum()) for side in ("ac", "dc")),
        unplaced_kwh=float(vehicles["unplaced_energy_ac_kwh"].sum()),
        gap_minutes=settings.largest_gap_seconds / 60,
        vehicles_with_gaps=vehicles.filter(is_silent).height,
        guessed_links=vehicles.filter(pl.col("link_source").str.contains(RULE)).height,
        groups=[_group(vehicles, status) for status in _EXPLAINED],
    )


def _group(vehicles: pl.DataFrame, status: str) -> Group:
    found = vehicles.filter(pl.col("status") == status).sort(
        pl.max_horizontal("energy_ac_kwh", "energy_dc_kwh"),
        "vehicle_id",
        descending=[True, False],
        nulls_last=True,
    )
    title = f"{_label(status).capitalize()} vehicles"
    if status == "insufficient_data":
        title = "Vehicles with insufficient data"
    return Group(title, _EXPLAINED[status], found.height, found.head(_NAMED).to_dicts())


def _full_day(hours: pl.DataFrame) -> pl.DataFrame:
    """A row for each hour 0-23; an hour that was not computed has nulls."""
    shown = hours.select(
        pl.col("hour_start").dt.hour().cast(pl.Int32).alias("hour"),
        "energy_ac_kwh",
        "energy_dc_kwh",
        "efficiency_percent",
    )
    every = pl.DataFrame({"hour": range(24)}, schema={"hour": pl.Int32})
    return every.join(shown, on="hour", how="left", maintain_order="left")
