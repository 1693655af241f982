"""Right values of real cases, and of rules that are easy to get wrong; by hand."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from lake.settings import ChargerClass, EnergySettings
from tests.oracle.comparing import expected, row_differences, tables
from tests.oracle.facts import Heartbeat, Link
from tests.oracle.intervals import DAY, HOUR, KWH, SECOND
from tests.oracle.rows import micro
from tests.oracle.worlds import Fleet

EIGHT = micro(datetime(2026, 11, 17, 8, tzinfo=UTC))
NINE = EIGHT + HOUR
MINUTE = 60 * SECOND
ALWAYS = Link("M", "V", EIGHT - 30 * DAY, EIGHT + 30 * DAY)
IMPORTANT = ("efficiency_percent", "status", "reason")


def meter(minutes: float, kwh: float | None, device: str = "M", **more: Any) -> Heartbeat:
    """A heartbeat so many minutes after 08:00."""
    energy = None if kwh is None else round(kwh * KWH)
    return Heartbeat(device, EIGHT + round(minutes * MINUTE), energy, **more)


def vehicle(minutes: float, kwh: float | None, device: str = "V", **more: Any) -> Heartbeat:
    """A heartbeat so many minutes after 08:00."""
    return meter(minutes, kwh, device, **more)


def fleet(
    meters: Iterable[Heartbeat] = (),
    vehicles: Iterable[Heartbeat] = (),
    links: Iterable[Link] = (ALWAYS,),
    of_class: str | None = None,
    **settings: Any,
) -> Fleet:
    """A fleet whose meters have one class."""
    found = tuple(meters)
    return Fleet(
        found,
        tuple(vehicles),
        tuple(links),
        {h.device: of_class for h in found},
        EnergySettings(_env_file=None, **settings),
    )


def rows(of: Fleet, start: int = EIGHT, end: int = NINE) -> dict[str, dict[str, Any]]:
    """The rows by owner, of the oracle and of `lake`, which must be the same."""
    right, got = expected(of, start, end), tables(of, start, end)
    for by_oracle, by_lake in zip(right, got, strict=True):
        assert not row_differences(by_oracle, by_lake), "(by the oracle, by lake)"
    return {**got[0], **got[1]}


def register(
    device: str, values: Iterable[float], first: float = 0, step: float = 1
) -> list[Heartbeat]:
    """Values of a register, `step` minutes apart."""
    return [meter(first + n * step, value, device, register=True) for n, value in enumerate(values)]


def test_a_heartbeat_without_a_state_of_charge_keeps_its_energy() -> None:
    row = rows(
        fleet(
            [meter(n, 0.12) for n in range(1, 31)],
            [vehicle(n, 0.11) for n in range(1, 31)],
        )
    )["V"]
    assert (row["energy_ac_kwh"], row["energy_dc_kwh"]) == (3.6, 3.3)
    assert [row[n] for n in IMPORTANT] == [91.666666667, "excellent", "rated"]


def test_a_vehicle_that_loses_every_third_heartbeat_is_not_rated() -> None:
    row = rows(
        fleet(
            [meter(n, 0.12) for n in range(1, 31)],
            [vehicle(n, 0.11) for n in range(1, 31) if n % 3],
        )
    )["V"]
    assert (row["matched_energy_ac_kwh"], row["matched_energy_dc_kwh"]) == (2.4, 2.2)
    assert row["known_dc_seconds"] == 1200
    assert [row[n] for n in IMPORTANT] == [None, "insufficient_data", "unmatched_ac"]


@pytest.mark.parametrize(
    ("declared", "energy", "known", "result"),
    [
        (None, 1.309, 3570, [18.333333333, "implausible", "below_floor"]),
        (MINUTE, 1.32, 720, [None, "insufficient_data", "unmatched_ac"]),
    ],
)
def test_a_vehicle_that_loses_four_of_five_heartbeats_is_not_rated(
    declared: int | None, energy: float, known: float, result: list[Any]
) -> None:
    car = [vehicle(4.5 + 5 * n, 0.11, declared=declared) for n in range(12)]
    row = rows(fleet([meter(n + 0.5, 0.12) for n in range(60)], car))["V"]
    assert row["energy_ac_kwh"] == 7.14
    assert (row["energy_dc_kwh"], row["known_dc_seconds"]) == (energy, known)
    assert [row[n] for n in IMPORTANT] == result


def test_a_false_zero_of_a_register_is_left_out_and_counts_nothing() -> None:
    values = [910 + 0.12 * n if n != 5 else 0 for n in range(12)]
    row = rows(fleet(register("M", values), register("V", [0.11 * n for n in range(12)])))["V"]
    assert (row["energy_ac_kwh"], row["energy_dc_kwh"], row["left_out_ac"]) == (1.32, 1.21, 1)
    assert row["resets"] == 0
    assert [row[n] for n in IMPORTANT] == [91.666666667, "excellent", "rated"]


def test_a_register_that_steps_back_by_half_a_kwh_is_no_reset() -> None:
    car = [25 + 0.11 * n if n < 6 else 25.14 + 0.11 * (n - 6) for n in range(12)]
    row = rows(fleet(register("M", [50 + 0.12 * n for n in range(12)]), register("V", car)))["V"]
    assert (row["energy_ac_kwh"], row["matched_energy_ac_kwh"]) == (1.32, 1.2)
    assert (row["energy_dc_kwh"], row["known_dc_seconds"]) == (1.1, 600)
    assert (row["left_out_energy_dc_kwh"], row["resets"]) == (0.41, 0)
    assert row["reason"] == "left_out_dc"


def test_a_quarter_of_an_hour_meter_has_matched_energy_where_the_vehicle_is_known() -> None:
    car = zip((7, 22, 37, 52, 59), (5.7701, 7.4201, 9.0701, 10.7201, 11.4899), strict=True)
    row = rows(
        fleet(
            register("M", [100 + 1.8 * n for n in range(5)], step=15),
            [vehicle(at, value, register=True) for at, value in car],
        )
    )["V"]
    assert (row["energy_ac_kwh"], row["matched_energy_ac_kwh"]) == (7.2, 6.24)
    assert (row["energy_dc_kwh"], row["matched_energy_dc_kwh"]) == (5.7198, 5.7198)
    assert row["reason"] == "unmatched_ac"


def test_hourly_energies_belong_to_the_hour_before_their_timestamp() -> None:
    of = fleet([meter(60 * n, e) for n, e in enumerate((1.0, 5.0, 2.0, 0.0))], links=())
    energies = [
        rows(of, EIGHT + n * HOUR, NINE + n * HOUR)["M"]["energy_ac_kwh"] for n in (-1, 0, 1, 2)
    ]
    assert energies == [1, 5, 2, 0]


def test_a_silent_weekend_of_a_register_is_unplaced_and_not_lost() -> None:
    monday = register("M", [1038.4, 1038.5])
    of = fleet([meter(-62 * 60, 1000.0, register=True), *monday])
    row = rows(of, EIGHT - 24 * HOUR, NINE)["M"]
    assert (row["energy_ac_kwh"], row["unplaced_energy_ac_kwh"]) == (38.5, 38.4)
    assert (row["known_ac_seconds"], row["reason"]) == (60, "unplaced_ac")


def test_the_phases_of_a_meter_are_added() -> None:
    kwh = {"L1": 0.04, "L2": 0.05, "L3": 0.03}
    beats = [meter(n, e, phase=p) for n in range(1, 11) for p, e in kwh.items()]
    row = rows(fleet(beats))["M"]
    assert (row["energy_ac_kwh"], row["known_ac_seconds"]) == (1.2, 600)
    assert (row["data_points_meter"], row["conflicts_ac"]) == (10, 0)

    silent = [h for h in beats if h.phase != "L3" or h.at < EIGHT + 6 * MINUTE]
    row = rows(fleet(silent))["M"]
    assert (row["energy_ac_kwh"], row["known_ac_seconds"]) == (1.05, 300)


def test_quarters_of_an_hour_on_the_day_the_clock_goes_back() -> None:
    midnight = micro(datetime(2026, 10, 25, tzinfo=UTC))
    at = [midnight + n * 15 * MINUTE for n in range(-1, 9)]
    of = fleet([Heartbeat("M", t, KWH // 2) for t in at], links=())
    energies = [
        rows(of, midnight + n * HOUR, midnight + n * HOUR + HOUR)["M"]["energy_ac_kwh"]
        for n in (-1, 0, 1)
    ]
    assert energies == [1, 2, 2]


def test_watt_hours_as_kilowatt_hours() -> None:
    kwh = (0.0, 0.8125, 2.87968, 0.6401)
    of = fleet([meter(60 * n, e) for n, e in enumerate(kwh)], links=())
    assert rows(of, EIGHT - HOUR, EIGHT + 4 * HOUR)["M"]["energy_ac_kwh"] == 4.33228


def test_without_a_link_nothing_is_rated() -> None:
    row = rows(
        fleet([meter(n, 0.12) for n in range(9)], [vehicle(n, 0.05) for n in range(9)], links=())
    )["V"]
    assert [row[n] for n in IMPORTANT] == [None, "unmapped", "no_link"]


def test_a_frozen_register_spreads_its_rise() -> None:
    values = [50.0, *[50.12] * 7, 50.96, 51.08]
    of = fleet(
        register("M", values),
        of_class="small",
        charger_classes={"small": ChargerClass(greatest_power_kw=22)},
    )
    assert rows(of)["M"]["energy_ac_kwh"] == 1.08
    half = rows(of, EIGHT, EIGHT + 4 * MINUTE + MINUTE // 2)["M"]
    assert half["energy_ac_kwh"] == pytest.approx(0.12 * 4.5, abs=1e-9)


def test_a_register_that_rolls_over_is_no_reset() -> None:
    values = [8388.50, 8388.60, 2.49, 4.99]
    sized = {"sized": ChargerClass(register_size_kwh=8388.608)}
    of = fleet(register("M", values, step=15), of_class="sized", charger_classes=sized)
    row = rows(of)["M"]
    assert (row["energy_ac_kwh"], row["resets"]) == (5.098, 0)


@pytest.mark.parametrize(
    ("values", "step", "energy", "left_out", "left_out_energy", "resets"),
    [
        ([20.0, 20.1, 0.05, 0.15, 0.25, 0.35], 1, 0.45, 0, 0, 1),
        ([0.018, 57.2, 0.018, 0.5], 14, 0.482, 1, 0, 0),
        ([50.0, 50.12, 950.0, 950.12, 950.24, 950.36, 950.48], 1, 0.6, 1, 899.88, 0),
        ([50.0, 50.12, 0], 1, 0.12, 1, 0, 0),
    ],
)
def test_a_reset_a_spike_an_unknown_rise_and_a_value_that_waits(
    values: list[float],
    step: float,
    energy: float,
    left_out: int,
    left_out_energy: float,
    resets: int,
) -> None:
    row = rows(fleet(register("M", values, step=step)))["M"]
    assert row["energy_ac_kwh"] == energy
    assert (row["left_out_ac"], row["left_out_energy_ac_kwh"]) == (left_out, left_out_energy)
    assert row["resets"] == resets


def test_two_registers_in_one_series_count_each_energy_once() -> None:
    at = (0, 15, 16, 17, 18, 19, 20, 35)
    values = (1000.0, 1002.0, 0.0, 0.1, 0.2, 0.3, 1002.4, 1004.4)
    row = rows(fleet(meter(a, v, register=True) for a, v in zip(at, values, strict=True)))["M"]
    assert row["energy_ac_kwh"] == 4.4


def test_a_reading_over_the_hour_is_divided_as_the_vehicle_was() -> None:
    meters = [meter(2 + 5 * n, 1.0 if n < 12 else 0.6 if n == 12 else 0.0) for n in range(20)]
    cars = [vehicle(n, 0.184 if n <= 60 else 0.0) for n in range(1, 91)]
    of = fleet(meters, cars)
    row = rows(of)["V"]
    assert (row["energy_ac_kwh"], row["matched_energy_ac_kwh"]) == (11.76, 12)
    assert [row[n] for n in IMPORTANT] == [92, "excellent", "rated"]
    after = rows(of, NINE, NINE + HOUR)["V"]
    assert (after["energy_ac_kwh"], after["reason"]) == (0.24, "nothing_flowed")
    both = rows(of, EIGHT, NINE + HOUR)["V"]
    assert (both["matched_energy_ac_kwh"], both["efficiency_percent"]) == (12, 92)


def test_two_meters_at_one_vehicle_are_known_where_both_are() -> None:
    m1 = [meter(n, 0.06, "M1") for n in range(-5, 66)]
    m2 = [meter(n, 0.06, "M2") for n in range(-5, 66) if not 20 < n <= 35]
    links = [Link(m, "V", EIGHT - DAY, EIGHT + DAY) for m in ("M1", "M2")]
    row = rows(fleet([*m1, *m2], [vehicle(n, 0.11) for n in range(-5, 66)], links))["V"]
    assert (row["energy_ac_kwh"], row["matched_energy_ac_kwh"]) == (6.3, 5.4)
    assert (row["energy_dc_kwh"], row["matched_energy_dc_kwh"]) == (6.6, 4.95)
    assert (row["known_ac_seconds"], row["reason"]) == (2700, "unmatched_ac")


@pytest.mark.parametrize(
    ("other", "energy", "conflicts"), [(0.0, 0.36, 0), (910.7, 0.36, 1), (910.65, 0.36, 1)]
)
def test_the_chain_of_a_register_decides_a_conflict(
    other: float, energy: float, conflicts: int
) -> None:
    values = register("M", [910.48, 910.6, 910.72, 910.84])
    values[1] = meter(1, 910.6, register=True, other=round(other * KWH))
    row = rows(fleet(values))["M"]
    assert (row["energy_ac_kwh"], row["conflicts_ac"]) == (energy, conflicts)


# Rules that are easy to get wrong.


def test_a_vehicle_moves_between_two_links() -> None:
    links = [
        Link("M", "V", EIGHT - DAY, EIGHT + 20 * MINUTE),
        Link("M", "V", EIGHT + 30 * MINUTE, EIGHT + DAY),
    ]
    row = rows(fleet([meter(n, 0.12) for n in range(60)], [], links))["V"]
    assert row["energy_ac_kwh"] == pytest.approx(0.12 * 49)


def test_an_unlinked_meter_is_known_where_all_its_phases_are() -> None:
    beats = [meter(20, 0.1, phase="L1"), meter(49, 0.1, phase="L2")]
    assert rows(fleet(beats, links=()))["M"]["coverage_ac"] == 0


@pytest.mark.parametrize("linked", [True, False])
def test_a_phase_that_is_first_heard_after_the_window_has_no_part_in_it(linked: bool) -> None:
    beats = [meter(20, 0.1, phase="L1"), meter(180, 0.1, phase="L2")]
    row = rows(fleet(beats, links=[ALWAYS] if linked else []))["M"]
    assert row["coverage_ac"] == pytest.approx(60 / 3600)


def test_two_series_of_one_meter_do_not_make_another_meter_known() -> None:
    m1 = [meter(0, 5.0, "M1", register=True), meter(9, 6.0, "M1", register=True)]
    links = [Link(m, "V", EIGHT - DAY, EIGHT + DAY) for m in ("M1", "M2")]
    row = rows(fleet([*m1, meter(5, 0.1, "M1")], [], links))["V"]
    assert (row["known_ac_seconds"], row["reason"]) == (0, "not_known_ac")


def test_meters_share_the_energy_of_each_hour_by_what_they_gave_in_it() -> None:
    links = [Link(m, "V", EIGHT - DAY, EIGHT + DAY) for m in ("M1", "M2")]
    of = fleet([meter(27, 3.96, "M2")], [vehicle(135, 4.5)], links)
    found = rows(of, EIGHT + 2 * HOUR, EIGHT + 3 * HOUR)
    assert [found[m]["energy_dc_kwh"] for m in ("M1", "M2")] == [4.5, 0]


def test_halves_of_a_microwatt_hour_go_to_the_even_one() -> None:
    start = EIGHT + 53 * MINUTE
    of = fleet([Heartbeat("M", start + 10 * MINUTE, 45, declared=10 * MINUTE)], links=())
    assert rows(of)["M"]["energy_ac_kwh"] == 32e-9


def test_no_rows_come_from_nothing() -> None:
    assert rows(fleet(links=())) == {}


def test_a_day_that_discharges_against_an_hour_that_charges_warns_of_nothing() -> None:
    cars = [vehicle(0, 254.9), vehicle(1440, -284.0), vehicle(2880, 246.6), vehicle(4320, 275.3)]
    beat = meter(1440 - 30, 3.3, declared=HOUR)
    rows(fleet([beat], cars), EIGHT + 22 * HOUR, NINE + 22 * HOUR)
