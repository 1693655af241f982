"""The maintenance list: who is to be visited, and that it does not waver."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.condition import apply_decisions, no_maintenance, update_maintenance
from lake.condition.anomalies import ANOMALIES
from lake.condition.maintenance import (
    DECISIONS,
    MAINTENANCE,
    NO_LONGER_SEEN,
    OF_THE_PARTNER,
    PRICES,
)

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SURE = 0.99
PRICE = pl.DataFrame([("meter", "M1", 0.3, "EUR")], schema=PRICES, orient="row")


def day(number: int) -> datetime:
    return BEGIN + timedelta(days=number)


def anomaly(device_id: str = "M1", confidence: float = SURE, **more: Any) -> dict[str, Any]:
    return {
        "device_kind": "meter",
        "device_id": device_id,
        "kind": "slow_drift",
        "since": BEGIN,
        "confidence": confidence,
        "size_percent": 5.0,
        "sessions": 30,
        "at_stake_kwh_a_year": 300.0,
        "mending_saves_kwh_a_year": 250.0,
        "reason": "it drifts",
        **more,
    }


def found(*anomalies: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(anomalies), schema=ANOMALIES)


def after(confidences: Sequence[float | None], listed: pl.DataFrame | None = None) -> pl.DataFrame:
    """The list after one day each; None: not found at all."""
    listed = no_maintenance() if listed is None else listed
    for number, confidence in enumerate(confidences):
        seen = found() if confidence is None else found(anomaly(confidence=confidence))
        listed = update_maintenance(listed, seen, day(number), PRICE)
    return listed


def decided(listed: pl.DataFrame, *decisions: tuple[datetime, bool, str]) -> pl.DataFrame:
    rows = [("meter", "M1", at, "kim", closes, why) for at, closes, why in decisions]
    return apply_decisions(listed, pl.DataFrame(rows, schema=DECISIONS, orient="row"))


def state(listed: pl.DataFrame) -> str | None:
    return None if listed.is_empty() else str(listed["state"].item())


def test_an_anomaly_is_visited_once_it_has_been_seen_for_a_week() -> None:
    assert state(after([SURE] * 7)) == "waiting"
    listed = after([SURE] * 8)
    assert state(listed) == "open"
    assert listed["opened_at"].item() == day(7)
    assert dict(listed.schema) == MAINTENANCE


def test_money_follows_from_the_price() -> None:
    (row,) = after([SURE] * 8).iter_rows(named=True)
    assert row["at_stake_a_year"] == pytest.approx(90)
    assert row["mending_saves_a_year"] == pytest.approx(75)
    assert row["currency"] == "EUR"
    without = update_maintenance(no_maintenance(), found(anomaly()), day(0))
    assert without["at_stake_a_year"].to_list() == [None]


def test_what_is_not_sure_enough_is_never_listed() -> None:
    assert state(after([0.5] * 40)) is None
    assert state(after([SURE, 0.5, SURE, None] * 10)) != "open"


def test_an_open_row_stays_while_it_is_still_likely_and_closes_weeks_after_it_is_not() -> None:
    assert state(after([SURE] * 8 + [0.4] * 60)) == "open"
    assert state(after([SURE] * 8 + [None] * 27)) == "open"
    closed = after([SURE] * 8 + [None] * 28)
    assert state(closed) == "closed"
    assert closed["closed_reason"].item() == NO_LONGER_SEEN
    assert closed["closed_by"].item() is None
    assert closed["reason"].item() == "it drifts"


@settings(max_examples=30)
@given(st.lists(st.sampled_from([None, 0.1, 0.4, 0.7, SURE]), min_size=1, max_size=60))
def test_a_row_opens_and_closes_at_most_once_in_four_weeks(
    confidences: list[float | None],
) -> None:
    listed, states = no_maintenance(), []
    for number, confidence in enumerate(confidences):
        seen = found() if confidence is None else found(anomaly(confidence=confidence))
        listed = update_maintenance(listed, seen, day(number))
        states.append(state(listed))
    changes = [
        number
        for number in range(1, len(states))
        if (states[number] == "open") != (states[number - 1] == "open")
    ]
    closings = [number for number in changes if states[number] != "open"]
    openings = [number for number in changes if states[number] == "open"]
    for closing in closings:
        assert all(closing - opening >= 28 for opening in openings if opening < closing)


def test_what_a_person_has_closed_stays_closed_until_it_is_worse_or_long_ago() -> None:
    closed = decided(after([SURE] * 8), (day(8), True, "fuse replaced"))
    again = update_maintenance(closed, found(anomaly()), day(20))
    assert state(again) == "closed"
    assert again.select("closed_by", "closed_reason").row(0) == ("kim", "fuse replaced")
    worse = update_maintenance(again, found(anomaly(size_percent=8.0)), day(21))
    assert state(worse) == "waiting"
    later = update_maintenance(again, found(anomaly()), day(120))
    assert state(later) == "waiting"


def test_of_several_decisions_the_newest_counts_and_a_closing_can_be_taken_back() -> None:
    listed = after([SURE] * 8)
    closing, opening = (day(8), True, "mended"), (day(9), False, "it was another one")
    assert decided(listed, closing, opening).equals(listed)
    assert decided(decided(listed, closing), opening).equals(listed)
    assert state(decided(listed, opening, (day(10), True, "mended now"))) == "closed"
    # What was not open yet when the day was computed anew is closed all the same.
    waiting = decided(after([SURE]), closing)
    assert state(waiting) == "closed"
    assert state(update_maintenance(waiting, found(anomaly()), day(9))) == "closed"
    assert state(decided(waiting, opening)) == "waiting"


def test_a_decision_on_what_has_closed_by_itself_or_is_gone_changes_nothing() -> None:
    closed = after([SURE] * 8 + [None] * 28)
    for closes in (True, False):
        assert decided(closed, (day(40), closes, "late")).equals(closed)
        assert decided(no_maintenance(), (day(40), closes, "late")).is_empty()


def test_a_row_that_stands_for_either_closes_when_it_is_the_other() -> None:
    either = found(anomaly(may_be_kind="vehicle", partner_id="V1"))
    listed = no_maintenance()
    for number in range(8):
        listed = update_maintenance(listed, either, day(number))
    other = found(anomaly("V1", device_kind="vehicle"))
    listed = update_maintenance(listed, other, day(8))
    rows = dict(listed.select("device_id", "state").iter_rows())
    assert rows == {"M1": "closed", "V1": "waiting"}
    assert listed.filter(pl.col("device_id") == "M1")["closed_reason"].item() == OF_THE_PARTNER


def test_the_most_money_comes_first() -> None:
    listed = update_maintenance(
        no_maintenance(), found(anomaly("A"), anomaly("B", at_stake_kwh_a_year=900.0)), day(0)
    )
    assert listed["device_id"].to_list() == ["B", "A"]
