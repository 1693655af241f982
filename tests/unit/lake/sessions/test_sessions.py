"""Sessions: what is one, what are two, and that nothing of their energy is lost."""

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.sessions import LINKS, charging_sessions
from tests.unit.energy_samples import patiently
from tests.unit.lake.sessions.samples import (
    SETTINGS,
    at,
    by_rule,
    heartbeats,
    merged,
    sessions_of,
    tables_of_hours,
)


def times(sessions: pl.DataFrame) -> list[tuple[object, ...]]:
    return sessions.select("begins", "ends").rows()


def test_a_session_over_midnight_is_one_with_all_its_figures() -> None:
    fleet = heartbeats([(-2.5, 3.25)], -4, 6, soc=40.0, battery_temp=21.5)
    (one,) = sessions_of(*fleet, [by_rule(-24, 24)], -4, 6).to_dicts()
    assert (one["begins"], one["ends"]) == (at(-2.5), at(3.25))
    assert (one["status"], one["reason"], one["evidence"]) == ("excellent", "rated", "ac+dc")
    assert one["energy_ac_kwh"] == pytest.approx(345 * 0.12)
    assert one["energy_dc_kwh"] == pytest.approx(345 * 0.11)
    assert one["efficiency_percent"] == pytest.approx(100 * 11 / 12)
    assert one["mean_power_ac_kw"] == one["peak_power_ac_kw"] == pytest.approx(7.2)
    assert one["duration_seconds"] == one["charging_seconds"] == 345 * 60
    assert one["energy_ac_by_hour_kwh"] == pytest.approx([3.6, *[7.2] * 5, 1.8])
    assert (one["battery_temp_min"], one["average_battery_temp"]) == (21.5, 21.5)
    assert (one["soc_from"], one["soc_to"], one["plugged_from"]) == (40.0, 40.0, None)
    assert (one["coverage_ac"], one["coverage_dc"]) == (1.0, 1.0)


def test_a_pause_within_the_limit_is_part_of_a_session_and_a_longer_one_is_not() -> None:
    fleet = heartbeats([(8, 8.75), (9.25, 10), (10 + 31 / 60, 11)], 7, 12)
    sessions = sessions_of(*fleet, [by_rule(0, 24)], 7, 12)
    assert times(sessions) == [(at(8), at(10)), (at(10 + 31 / 60), at(11))]
    # The little that the charger took in the pause is the session's.
    assert sessions["energy_ac_kwh"][0] == pytest.approx(90 * 0.12 + 30 * 0.0002)
    assert sessions.select("duration_seconds", "charging_seconds").row(0) == (7200, 5400)


def test_a_session_goes_on_until_a_pause_of_the_limit_has_been_seen() -> None:
    fleet = heartbeats([(8, 9.5)], 7, 12)
    links = [by_rule(0, 24)]
    (at_nine,) = sessions_of(*fleet, links, 7, 9).to_dicts()
    assert (at_nine["ends"], at_nine["last_energy_at"]) == (None, at(9))
    (at_ten,) = sessions_of(*fleet, links, 7, 10).to_dicts()
    assert (at_ten["ends"], at_ten["last_energy_at"]) == (None, at(9.5))
    (at_eleven,) = sessions_of(*fleet, links, 7, 11).to_dicts()
    assert at_eleven["ends"] == at(9.5)


def test_an_explicit_link_is_one_session_whatever_the_pauses_and_its_end_is_its_end() -> None:
    fleet = heartbeats([(8.25, 9), (12.5, 14)], 7, 15)
    plugged = ("M1", "V1", at(8), at(13), "link")
    explicit = [("V1", at(8), at(13))]
    sessions = sessions_of(*fleet, [plugged, by_rule(13, 24)], 7, 15, explicit)
    assert times(sessions) == [(at(8.25), at(13)), (at(13), at(14))]
    first, second = sessions.to_dicts()
    assert (first["plugged_from"], first["plugged_to"]) == (at(8), at(13))
    assert first["plugged_seconds"] == 5 * 3600
    assert (first["evidence"], second["evidence"]) == ("ac+dc+link", "ac+dc")
    assert first["charging_seconds"] == 75 * 60
    assert first["energy_ac_kwh"] == pytest.approx(75 * 0.12 + 210 * 0.0002)
    assert first["coverage_ac"] == 1.0
    assert second["plugged_from"] is None


def test_a_link_that_lasts_for_years_is_no_time_of_being_plugged_in() -> None:
    fleet = heartbeats([(8, 9), (11, 12)], 7, 14)
    explicit = [("V1", at(-10_000), at(10_000)), ("V1", at(-9_000), None)]
    sessions = sessions_of(*fleet, [by_rule(0, 24)], 7, 14, explicit)
    assert times(sessions) == [(at(8), at(9)), (at(11), at(12))]


def test_another_meter_is_another_session() -> None:
    one, vehicle = heartbeats([(8, 9)], 7, 11)
    other, _ = heartbeats([(9, 10)], 7, 11, meter="M2")
    _, charged = heartbeats([(8, 10)], 7, 11)
    assert vehicle != charged
    links = [by_rule(7, 9), by_rule(9, 11, meter="M2")]
    sessions = sessions_of([*one, *other], charged, links, 7, 11)
    assert sessions["meter_ids"].to_list() == [["M1"], ["M2"]]
    assert times(sessions) == [(at(8), at(9)), (at(9), at(10))]


def test_a_silence_of_a_register_between_two_parts_of_a_charge_joins_them() -> None:
    values = [(at(8) + timedelta(minutes=n), 0.1 * n) for n in range(31)]
    values += [(at(11) + timedelta(minutes=n), 20 + 0.1 * n) for n in range(31)]
    rows = [
        {"vehicle_id": "V1", "timestamp": t, "kwh_delivered_dc": v, "reading_type": "register"}
        for t, v in values
    ]
    (one,) = sessions_of([], rows, [], 7, 13).to_dicts()
    assert (one["begins"], one["ends"]) == (at(8), at(11.5))
    assert one["energy_dc_kwh"] == pytest.approx(23)
    assert (one["status"], one["reason"]) == ("unmapped", "no_link")


def test_no_session_is_longer_than_the_longest() -> None:
    fleet = heartbeats([(0, 200)], 0, 200)
    sessions = sessions_of(*fleet, [by_rule(0, 200)], 0, 200)
    assert times(sessions) == [(at(0), at(168)), (at(168), None)]
    assert sessions["energy_ac_kwh"].sum() == pytest.approx(200 * 7.2)


charges = st.lists(st.integers(0, 23 * 12), min_size=2, max_size=12, unique=True).map(
    lambda edges: [
        (a / 12, b / 12) for a, b in zip(sorted(edges)[::2], sorted(edges)[1::2], strict=False)
    ]
)


@patiently
@given(charges)
def test_sessions_are_the_same_from_hours_in_any_order_and_lose_no_energy(
    charging: list[tuple[float, float]],
) -> None:
    one = heartbeats(charging, -1, 25)
    two = heartbeats(charging[:1], -1, 25, vehicle="V2", meter="M2")
    stretches, hours = tables_of_hours(
        [*one[0], *two[0]],
        [*one[1], *two[1]],
        [by_rule(-24, 48), by_rule(-24, 48, "V2", "M2")],
        0,
        24,
    )
    sessions = merged(stretches, hours, 24)
    mixed = stretches.sample(fraction=1, shuffle=True, seed=1)
    assert merged(mixed, hours, 24).equals(sessions)
    for side in ("ac", "dc"):
        name = f"energy_{side}_kwh"
        within = stretches.join(sessions, on="vehicle_id", suffix="_session").filter(
            pl.col("begins") >= pl.col("begins_session"),
            pl.col("ends") <= pl.col("last_energy_at"),
        )
        assert round(within[name].sum(), 9) == round(sessions[name].sum(), 9)
        # What flows outside of sessions is what chargers take while they stand by.
        rest = float(hours[name].sum()) - float(sessions[name].sum())
        assert rest == pytest.approx(0, abs=0.0002 * 60 * 24 * 2 + 1e-9)
    by_hour = sessions["energy_ac_by_hour_kwh"].list.sum().sum()
    assert by_hour == pytest.approx(sessions["energy_ac_kwh"].sum())


def test_no_stretch_is_no_session() -> None:
    stretches, _ = tables_of_hours(*heartbeats([], 8, 9), [by_rule(0, 24)], 8, 9)
    empty = charging_sessions(stretches, pl.DataFrame(schema=LINKS), at(9), SETTINGS)
    assert empty.is_empty()
