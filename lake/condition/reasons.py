"""Reasons in words: what was found, how it shows, and what speaks for charger or vehicle."""

from collections.abc import Mapping
from typing import Any, Final

import polars as pl

from lake.condition.sessions import METER

_TEXTS: Final = {
    "slow_drift": "Since about {since} {size_percent:.1f} % of what should arrive has been lost "
    "bit by bit, {fall:.1f} % a month.{limit}",
    "sudden_drop": "Since about {since} {size_percent:.1f} % of what should arrive is lost, all at "
    "once.{limit}",
    "always_low": "{size_percent:.1f} % less arrives than with others of its class, at the same "
    "power and temperature.",
    "stuck_register": "The {side} energy stands still while the other side measures: in {sessions} "
    "sessions since {since}.",
    "slipping_register": "The {side} register loses energy now and then: {size:.0%} in {sessions} "
    "sessions since {since}.",
    "wrong_scale": "The {side} energy is {size:g} times what the other side measures, in "
    "{sessions} sessions since {since}: a unit ({unit}).",
    "clock_error": "{size:.0%} of the energy flowed at other times by the other clock, and the "
    "energies agree: the {device}'s clock is off, in {sessions} sessions since {since}.",
    "missing_phase": "Only {size:.0%} of the usual power, in {sessions} sessions since {since}: a "
    "phase or two are missing.",
    "swapped_link": "The energy of {partner_id} fits the vehicle that is linked here, and this "
    "one's does not: the links are swapped, in {sessions} comparisons since {since}.",
}
_OWN: Final = " The {others} {partner_kind}s here are as usual elsewhere."
_OWN_BY_ONE: Final = " The {partner_kind} here is as usual elsewhere."
_EITHER: Final = " It may as well be {partner_kind} {partner_id}: too few sessions with others."
_UNITS: Final = {1000: "Wh for kWh", 0.001: "MWh for kWh", 60: "kW for kWh of a minute"}
_A_YEAR: Final = 365  # nobody knows that far ahead
_OTHER_UNIT: Final = "kW for kWh, or the other way round"


def with_reasons(found: pl.DataFrame) -> pl.DataFrame:
    """Add `reason`: a sentence or two on each anomaly."""
    texts = [_reason(row) for row in found.iter_rows(named=True)]
    return found.with_columns(reason=pl.Series(texts, dtype=pl.String))


def _reason(row: Mapping[str, Any]) -> str:
    is_meter = row["device_kind"] == METER
    slope = row["slope_percent_a_month"]
    text = _TEXTS[row["kind"]].format(
        **{**row, "since": row["since"].date()},
        side="AC" if is_meter else "DC",
        device="charger" if is_meter else "vehicle",
        fall=max(-slope, 0.0) if slope is not None else 0.0,
        limit=_limit(row),
        unit=_UNITS.get(round(row["size"] or 0, 3), _OTHER_UNIT),
    )
    partner_kind = "vehicle" if is_meter else "charger"
    if row["may_be_kind"] is not None:
        text += _EITHER.format(partner_kind=partner_kind, partner_id=row["partner_id"])
    elif row["others"]:
        of_others = _OWN_BY_ONE if row["others"] == 1 else _OWN
        text += of_others.format(others=row["others"], partner_kind=partner_kind)
    return text


def _limit(row: Mapping[str, Any]) -> str:
    days, low, high = (row[f"days_to_limit{end}"] for end in ("", "_low", "_high"))
    if days == 0:
        return " It is below the limit."
    if days is None or days > _A_YEAR:
        return ""
    if low is None or high is None or high > _A_YEAR:
        return f" In about {days:.0f} days it is below the limit."
    return f" In {low:.0f} to {high:.0f} days it is below the limit."
