"""All that a report says, in words and written numbers: the same for the page and for the PDF."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from lake import EnergySettings
from lake.energy import STATUSES
from lake.reports import Period
from pipelines.report.figures import Figures
from pipelines.report.text import (
    UNKNOWN,
    device_link,
    duration,
    number,
    plural,
    signed,
    word,
)
from pipelines.report.totals import Totals
from pipelines.report.visits import Visit

MEANINGS: Final = {
    "excellent": "above {excellent_above_percent:g} %",
    "good": "{good_from_percent:g} to {excellent_above_percent:g} %",
    "warning": "{warning_from_percent:g} to {good_from_percent:g} %",
    "critical": "below {warning_from_percent:g} %",
    "idle": "hardly any energy",
    "insufficient_data": "too little is known, or not believed",
    "unmapped": "linked to nothing",
    "implausible": "a sensor or a link is wrong",
}
# Energies of which one side can't be right.
_NOT_BELIEVED: Final = ("below_floor", "above_100_percent")
# What was read for which figures, in words.
_TABLES: Final = {
    "vehicle_efficiency_daily": "vehicles by day",
    "vehicle_efficiency_hourly": "vehicles by hour",
    "charger_efficiency_daily": "chargers by day",
    "charger_efficiency_hourly": "chargers by hour",
    "fleet_efficiency_daily": "what the fleet's days cost",
    "charging_session": "charging sessions",
    "maintenance_visit": "whom to visit",
}


def content_of(
    figures: Figures,
    version: int,
    changed: Sequence[str],
    settings: EnergySettings,
    lake_uri: str,
    base: str,
) -> dict[str, Any]:
    """Return everything that the templates show, as texts, lists and dictionaries.

    `version` is 0 where it is none, `changed` what the version before said otherwise. `base` is the
    URL of the collector's pages; empty: links are relative to it.
    """
    device = "vehicle" if figures.is_of_fleet else "meter"
    return {
        "kicker": f"Efficiency report by {figures.period.kind}",
        "name": figures.name,
        "title": period_title(figures.period),
        "key": figures.period.key,
        "so_far": figures.is_partial,
        "state": _state(figures),
        "changed": list(changed),
        "is_empty": figures.vehicles.is_empty() and figures.chargers.is_empty(),
        "device": word(device),
        "compared": [
            {
                "label": c.label,
                "title": period_title(c.period),
                "href": _report(figures, c.period, base),
            }
            for c in figures.compared
        ],
        "rows": _key_rows(figures),
        "money_note": _money_note(figures),
        "basis": _basis(figures, device),
        "excluded": [
            {
                "reason": one.reason,
                "code": one.code,
                "devices": number(one.devices) if one.devices else UNKNOWN,
                "energy": number(one.energy_kwh, 1),
                "share": number(one.share, 1),
            }
            for one in figures.excluded
        ],
        "rated": {
            "devices": number(figures.totals.rated_devices),
            "energy": number(figures.totals.rated_ac_kwh, 1),
            "share": number(figures.totals.rated_share, 1),
        },
        "statuses": [
            {
                "name": name,
                "label": name.replace("_", " "),
                "meaning": MEANINGS[name].format_map(settings.model_dump()),
                "count": figures.totals.statuses[name],
            }
            for name in STATUSES
        ],
        "changes": [
            {
                "text": change.text,
                "devices": [
                    {"id": i, "href": device_link(base, kind, i), "note": note}
                    for kind, i, note in change.devices
                ],
            }
            for change in figures.changes
        ],
        "visits": _visits(figures, settings, base),
        "steps": _steps(figures),
        "step_name": f"Hour ({figures.zone})" if figures.period.kind == "day" else "Day",
        "depots": [
            {
                "name": row["depot"] or "without a depot",
                "href": _report(figures, figures.period, base, row["depot"])
                if row["depot"]
                else "",
                "efficiency": number(row["efficiency_percent"], 1),
                "loss": number(row["loss_kwh"], 1),
                "energy": number(row["energy_ac_kwh"], 1),
                "cost": number(row["cost_of_energy"], 2),
                "losses": number(row["cost_of_losses"], 2),
                "currency": row["currency"] or "",
            }
            for row in figures.depots.iter_rows(named=True)
            if figures.is_of_fleet
        ],
        "quality": _quality(figures, base),
        "sources": [
            {
                "table": name,
                "what": _TABLES[name],
                "version": version,
                "href": f"{base}/v1/analytics/tables/{name}?{_window(figures)}",
            }
            for name, version in figures.sources.items()
        ],
        "linked": bool(base),
        "lake_uri": lake_uri,
        "first_date": f"{figures.start:%Y-%m-%d}",
        "last_date": f"{figures.end - timedelta(microseconds=1):%Y-%m-%d}",
        "window": f"{figures.start:%Y-%m-%d %H:%M} to {figures.end:%Y-%m-%d %H:%M} UTC",
        "limits": {name: number(value, 0) for name, value in _limits(settings).items()},
        "idle_below": number(settings.idle_below_kwh, 2),
        "made": f"{figures.generated_at:%Y-%m-%d %H:%M} UTC"
        + (f", version {version}" if version else ""),
    }


def period_title(period: Period) -> str:
    """The name of a period as people say it."""
    first, last = period.first, period.days[-1]
    if period.kind == "day":
        return f"{first:%A}, {first.day} {first:%B %Y}"
    if period.kind == "month":
        return f"{first:%B %Y}"
    begin = f"{first.day} {first:%B}" if first.month != last.month else f"{first.day}"
    begin += f" {first.year}" if first.year != last.year else ""
    return f"Week {period.key[-2:].lstrip('0')}, {begin} to {last.day} {last:%B %Y}"


def key_figures(totals: Totals) -> Mapping[str, str]:
    """The figures of the first page as they are written, by what they are called."""
    money, currency = totals.money, totals.money.currency or ""
    return {
        "bought": f"{number(totals.bought_kwh, 1)} kWh",
        "delivered": f"{number(totals.delivered_kwh, 1)} kWh",
        "lost": f"{number(totals.lost_kwh, 1)} kWh",
        "efficiency": f"{number(totals.efficiency_percent, 1)} %",
        "cost of energy": f"{number(money.energy, 2)} {currency}".strip(),
        "cost of losses": f"{number(money.losses, 2)} {currency}".strip(),
        "rated": f"{number(totals.rated_share, 1)} %",
    }


def _state(figures: Figures) -> str:
    zone = ZoneInfo(figures.zone)
    start, end = (moment.astimezone(zone) for moment in (figures.start, figures.end))
    hours = figures.hours
    if figures.is_partial:
        return (
            f"So far: until {figures.generated_at.astimezone(zone):%H:%M} ({figures.zone}) on "
            f"{figures.generated_at.astimezone(zone):%Y-%m-%d}; the figures grow until the "
            f"{figures.period.kind} is over, and are not compared before."
        )
    said = f"{number(hours)} hours by the clock of {figures.zone}"
    if figures.period.kind == "day" and hours != 24:
        said += ", on which clocks change"
    if start.minute:
        said += (
            f", from {start:%H:%M} to {end:%H:%M}: figures are of whole UTC hours, and an hour "
            "belongs to the day in which it begins"
        )
    return f"{said}."


def _key_rows(figures: Figures) -> list[dict[str, Any]]:
    totals = figures.totals
    currency = totals.money.currency or ""
    shown: list[tuple[str, str, int, Any]] = [
        ("Bought from the grid", "kWh", 1, lambda t: t.bought_kwh),
        ("Delivered to batteries", "kWh", 1, lambda t: t.delivered_kwh),
        ("Lost, of what is rated", "kWh", 1, lambda t: t.lost_kwh),
        ("Efficiency, of what is rated", "%", 1, lambda t: t.efficiency_percent),
        ("Cost of the energy", currency, 2, lambda t: t.money.energy),
        ("Cost of the losses", currency, 2, lambda t: t.money.losses),
    ]
    rows = []
    for label, unit, decimals, value_of in shown:
        is_money = unit == currency
        then = [
            value_of(c.totals)
            if not is_money or c.totals.money.currency == totals.money.currency
            else None
            for c in figures.compared
        ]
        rows.append(
            {
                "label": label,
                "unit": unit if value_of(totals) is not None else "",
                "value": number(value_of(totals), decimals),
                "compared": [
                    {
                        "value": number(old, decimals),
                        "change": ""
                        if figures.is_partial
                        else _change(value_of(totals), old, unit),
                    }
                    for old in then
                ],
            }
        )
    return rows


def _change(now: float | Decimal | None, then: float | Decimal | None, unit: str) -> str:
    if now is None or then is None:
        return ""
    if unit == "%":
        return f"{signed(float(now) - float(then), 1)} points"
    return f"{signed(100 * (float(now) / float(then) - 1), 1)} %" if then else ""


def _money_note(figures: Figures) -> str:
    money = figures.totals.money
    if money.energy is not None or figures.totals.bought_kwh <= 0:
        return ""
    if figures.depots["currency"].drop_nulls().n_unique() > 1:
        return (
            "There are several currencies, which are never added up: the costs stand at the depots."
        )
    return "No price is known for all of it, so there are no costs: TARIFF_FILE describes prices."


def _basis(figures: Figures, device: str) -> str:
    totals = figures.totals
    wrong = sum(one.share for one in figures.excluded if one.code in _NOT_BELIEVED)
    said = (
        f" {number(wrong, 1)} % of what was bought is not believable: a unit, a register or a link "
        "is wrong."
        if wrong >= 1
        else ""
    )
    if totals.efficiency_percent is None:
        return f"No {word(device)} has a believable ratio, so nothing is known of losses.{said}"
    return (
        f"Efficiency and losses rest on {number(totals.rated_share, 1)} % of the energy: on what "
        f"flowed while both sides were known, of {number(totals.rated_devices)} of "
        f"{plural(device, totals.devices)}.{said}"
    )


def _visits(figures: Figures, settings: EnergySettings, base: str) -> dict[str, Any]:
    visits = figures.visits
    if visits.listed_on is not None:
        note = (
            f"From the maintenance list at the end of {visits.listed_on} (UTC), by what mending "
            "saves in a year. Sessions are those that show it, temperature and power their medians."
        )
    else:
        note = (
            f"Below the line of {settings.good_from_percent:g} % in the 28 days before the end, by "
            "what they lose beyond it in a year of such use. Temperature and power are medians of "
            "their sessions."
        )
    groups = [
        ("Chargers", "Charger", visits.chargers, visits.charger_count),
        ("Vehicles", "Vehicle", visits.vehicles, visits.vehicle_count),
    ]
    if visits.wrong:
        groups.append(("What measures wrongly", "Device", visits.wrong, visits.wrong_count))
    return {
        "note": note,
        "groups": [
            {
                "title": title,
                "head": head,
                "visits": [_visit(one, base) for one in shown],
                "is_wrong": shown is visits.wrong,
                "is_guessed": any(one.guessed for one in shown),
                "more": _more(count, shown),
            }
            for title, head, shown, count in groups
        ],
    }


def _more(count: int, shown: Sequence[object]) -> str:
    """How many are not shown; empty for none."""
    return number(count - len(shown)) if count > len(shown) else ""


def _visit(visit: Visit, base: str) -> dict[str, str]:
    about = "meterId" if visit.kind == "meter" else "vehicleId"
    saves = f"{number(visit.saves, 0)} {visit.currency}" if visit.saves else UNKNOWN
    return {
        "id": visit.device_id,
        "href": device_link(base, visit.kind, visit.device_id),
        "reason": visit.reason,
        "saves": saves,
        "energy": number(visit.saves_kwh or visit.at_stake_kwh, 0),
        "sessions": number(visit.sessions),
        "sessions_href": f"{base}/sessions?{urlencode({about: visit.device_id})}",
        "temperature": number(visit.temperature, 0),
        "power": number(visit.power_kw, 1),
        "coverage": number(None if visit.coverage is None else 100 * visit.coverage, 0),
        "guessed": "" if not visit.guessed else f"{number(100 * visit.guessed, 0)} %",
    }


def _steps(figures: Figures) -> list[dict[str, str]]:
    return [
        {
            "label": row["label"],
            "ac": number(row["energy_ac_kwh"], 1),
            "dc": number(row["energy_dc_kwh"], 1),
            "loss": number(row["loss_kwh"], 1),
            "efficiency": number(row["efficiency_percent"], 1),
            "unlinked": number(row["unlinked_energy_ac_kwh"], 1),
        }
        for row in figures.steps.iter_rows(named=True)
    ]


def _quality(figures: Figures, base: str) -> dict[str, Any]:
    quality = figures.quality
    zone = ZoneInfo(figures.zone)
    return {
        "silent": [
            {
                "id": one.device_id,
                "href": device_link(base, one.kind, one.device_id),
                "kind": word(one.kind),
                "last": _at(one.last, zone),
                "silent_for": duration(one.silent_for) if one.silent_for else UNKNOWN,
            }
            for one in quality.silent
        ],
        "silent_count": quality.silent_count,
        "silent_more": _more(quality.silent_count, quality.silent),
        "unrated": [
            {
                "id": one.device_id,
                "href": device_link(base, one.kind, one.device_id),
                "energy": number(one.energy_kwh, 1),
                "reason": one.reason,
                "remedy": one.remedy,
            }
            for one in quality.unrated
        ],
        "unrated_count": quality.unrated_count,
        "unrated_more": _more(quality.unrated_count, quality.unrated),
        "guessed": [
            {"id": i, "href": device_link(base, "vehicle", i), "energy": number(energy, 1)}
            for i, energy in quality.guessed
        ],
        "guessed_count": quality.guessed_count,
        "counts": [
            ("Duplicate heartbeats removed", number(quality.duplicates)),
            ("Registers that restarted at zero", number(quality.resets)),
            ("Values of energy that were not believed", number(quality.left_out)),
            ("Times with two different energies of one device", number(quality.conflicts)),
            (
                "AC energy after a silence, of which nobody knows when it flowed",
                f"{number(quality.unplaced_kwh, 1)} kWh",
            ),
            (
                "AC energy without a vehicle",
                f"{number(figures.totals.unlinked_kwh, 1)} kWh",
            ),
        ],
    }


def _at(moment: datetime | None, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M}" if moment else "not in the period before"


def _limits(settings: EnergySettings) -> Mapping[str, float]:
    return {
        "excellent": settings.excellent_above_percent,
        "good": settings.good_from_percent,
        "warning": settings.warning_from_percent,
        "implausible": settings.implausible_below_percent,
        "matched": 100 * settings.matched_share_limit,
    }


def _report(figures: Figures, period: Period, base: str, depot: str | None = None) -> str:
    depot = depot or figures.scope.depot
    return f"{base}/reports/{period.key}" + (f"?{urlencode({'depot': depot})}" if depot else "")


def _window(figures: Figures) -> str:
    return urlencode(
        {"start": f"{figures.start:%Y-%m-%dT%H:%M:%SZ}", "end": f"{figures.end:%Y-%m-%dT%H:%M:%SZ}"}
    )
