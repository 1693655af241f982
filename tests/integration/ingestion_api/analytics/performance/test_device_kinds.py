"""Devices as they are: what a vehicle's answer says of slow, silent, lossy and odd ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lake import DAY, hour_of
from tests.harness.collector import Collector, collector_of_module
from tests.harness.heartbeats import device

api = collector_of_module(FLUSH_SECONDS="0.05", INDEX_SECONDS="0.05")

EIGHT = hour_of(datetime.now(UTC) - 3 * DAY)
"""The hour that the cases call 08:00."""

Values = Sequence[tuple[float, float]]
"""Minutes after EIGHT, kWh."""


@dataclass
class Charge:
    """A meter and the car that it feeds, both as posted."""

    api: Collector
    box: str = field(default_factory=lambda: device("M"))
    car: str = field(default_factory=lambda: device("V"))

    def post(self, meter: Values, vehicle: Values, **fields: Any) -> None:
        """Post all of it, and link the two for good."""
        boxes = [
            {"meterId": self.box, "timestamp": at(minutes), "kwhConsumedAc": kwh, **fields}
            for minutes, kwh in meter
        ]
        cars = [
            {"vehicleId": self.car, "timestamp": at(minutes), "kwhDeliveredDc": kwh, **fields}
            for minutes, kwh in vehicle
        ]
        # A car that nobody has ever heard has no performance.
        cars.append({"vehicleId": self.car, "timestamp": at(-9000), "soc": 50})
        link = {"meterId": self.box, "vehicleId": self.car, "validFrom": at(-9000)}
        for path, body in (("ingest/telemetry", [*boxes, *cars]), ("links", link)):
            assert self.api.post(f"/v1/{path}", body).status_code == 201

    def hour(self, number: int = 8, hours: float = 1) -> dict[str, Any]:
        """The answer for an hour of the day, or several."""
        window = {"start": at(60 * (number - 8)), "end": at(60 * (number - 8 + hours))}
        got = self.api.http.get(f"/v1/analytics/performance/{self.car}", params=window)
        assert got.status_code == 200, got.text
        answer: dict[str, Any] = got.json()
        return answer


def at(minutes: float) -> str:
    return (EIGHT + timedelta(minutes=minutes)).isoformat()


def each(step: float, kwh: float, first: float, last: float) -> Values:
    count = round((last - first) / step)
    return [(first + step * n, kwh) for n in range(count + 1)]


def register(start: float, values: Values) -> Values:
    found, total = [], start
    for minutes, kwh in values:
        total += kwh
        found.append((minutes, round(total, 6)))
    return found


@pytest.fixture
def charge(api: Collector) -> Charge:
    return Charge(api)


def test_the_ratio_of_the_contract_is_that_of_its_energies_whenever_they_flowed(
    charge: Charge,
) -> None:
    charge.post([(10, 25.5)], [(40, 21.5)])
    answer = charge.hour()
    assert (answer["energyConsumedAc"], answer["energyDeliveredDc"]) == (25.5, 21.5)
    assert answer["efficiencyRatio"] == pytest.approx(84.31, abs=0.005)
    assert answer["efficiencyPercent"] is None
    assert (answer["status"], answer["reason"]["code"]) == ("insufficient_data", "unmatched_ac")
    assert answer["reason"]["text"].endswith("vehicle's was not known.")


def test_energy_belongs_to_the_hour_in_which_it_flowed(charge: Charge) -> None:
    """A meter of five minutes, a car of one, and a charge that ends on the hour."""
    charge.post(
        [*each(5, 1.0, 2, 57), (62, 0.6), *each(5, 0.0, 67, 122)],
        [*each(1, 0.184, 1, 60), *each(1, 0.0, 61, 120)],
    )
    eight, nine, both = charge.hour(8), charge.hour(9), charge.hour(8, 2)
    assert (eight["energyConsumedAc"], eight["matchedEnergyAcKwh"]) == (11.76, 12.0)
    assert eight["matchedEnergyDcKwh"] == 11.04
    assert (eight["efficiencyPercent"], eight["status"]) == (92.0, "excellent")
    assert (nine["energyConsumedAc"], nine["energyDeliveredDc"]) == (0.24, 0.0)
    assert (nine["status"], nine["reason"]["code"]) == ("idle", "nothing_flowed")
    assert (both["energyConsumedAc"], both["efficiencyPercent"]) == (12.0, 92.0)


def test_registers_of_a_quarter_of_an_hour_are_rated_in_the_middle_of_a_charge(
    charge: Charge,
) -> None:
    charge.post(
        register(100.0, [(m, 1.8) for m in range(0, 181, 15)]),
        register(5.0, [(m, 1.65) for m in range(7, 181, 15)]),
        readingType="register",
    )
    answer = charge.hour(9)
    assert answer["energyConsumedAc"] == pytest.approx(7.2)
    assert answer["energyDeliveredDc"] == pytest.approx(6.6)
    assert answer["coverage"] == {"ac": 1.0, "dc": 1.0}
    assert answer["efficiencyPercent"] == pytest.approx(91.666666667)
    assert answer["status"] == "excellent"
    assert charge.hour(8)["reason"]["code"] == "unmatched_ac"  # seven minutes of it are not known


def test_a_false_zero_of_a_register_is_left_out_and_told(charge: Charge) -> None:
    meter = [*register(910.0, [(0, 0.0), *each(1, 0.12, 1, 11)])]
    meter[5] = (5, 0.0)
    vehicle = register(0.0, [(0, 0.0), *each(1, 0.11, 1, 11)])
    charge.post(meter, vehicle, readingType="register")
    answer = charge.hour()
    assert (answer["energyConsumedAc"], answer["energyDeliveredDc"]) == (1.32, 1.21)
    assert (answer["efficiencyPercent"], answer["status"]) == (91.666666667, "excellent")
    assert answer["leftOut"] == {"ac": 1, "dc": 0}
    assert answer["resets"] == 0


def test_a_register_that_is_corrected_is_no_register_that_began_anew(charge: Charge) -> None:
    meter = register(50.0, [(0, 0.0), *each(1, 0.12, 1, 11)])
    before = register(25.0, [(0, 0.0), *each(1, 0.11, 1, 5)])
    after = register(25.14, [(6, 0.0), *each(1, 0.11, 7, 11)])
    charge.post(meter, [*before, *after], readingType="register")
    answer = charge.hour()
    assert (answer["energyConsumedAc"], answer["energyDeliveredDc"]) == (1.32, 1.1)
    assert (answer["matchedEnergyAcKwh"], answer["matchedEnergyDcKwh"]) == (1.2, 1.1)
    assert answer["leftOutEnergy"] == {"ac": 0.0, "dc": 0.41}
    assert (answer["status"], answer["reason"]["code"]) == ("insufficient_data", "left_out_dc")


def test_lost_heartbeats_don_t_look_like_a_failing_charger(charge: Charge) -> None:
    charge.post(each(1, 0.12, 0.5, 59.5), each(5, 0.11, 4.5, 59.5))
    regular = charge.hour()
    assert (regular["energyConsumedAc"], regular["energyDeliveredDc"]) == (7.14, 1.309)
    assert regular["efficiencyPercent"] == 18.333333333
    assert (regular["status"], regular["reason"]["code"]) == ("implausible", "below_floor")


def test_of_every_third_heartbeat_nothing_is_known_and_that_is_no_efficiency(
    charge: Charge,
) -> None:
    arrives = [(minute, 0.11) for minute in range(1, 31) if minute % 3]
    charge.post(each(1, 0.12, 1, 30), arrives)
    answer = charge.hour()
    assert (answer["energyConsumedAc"], answer["energyDeliveredDc"]) == (3.6, 2.2)
    assert (answer["matchedEnergyAcKwh"], answer["matchedEnergyDcKwh"]) == (2.4, 2.2)
    assert (answer["status"], answer["reason"]["code"]) == ("insufficient_data", "unmatched_ac")


def test_an_hourly_energy_belongs_to_the_hour_before_it(charge: Charge) -> None:
    charge.post([(0, 1.0), (60, 5.0), (120, 2.0), (180, 0.0), (240, 0.0)], [])
    assert [charge.hour(hour)["energyConsumedAc"] for hour in (7, 8, 9, 10)] == [1, 5, 2, 0]


def test_what_a_register_tells_after_days_of_silence_is_there_and_unplaced(
    charge: Charge,
) -> None:
    monday = 62 * 60.0
    values = [(-monday, 1000.0), (0.0, 1038.4), (1.0, 1038.5)]
    charge.post(values, [], readingType="register")
    first = charge.hour(8)
    assert first["energyConsumedAc"] == 38.5
    assert first["unplacedEnergy"] == {"ac": 38.4, "dc": 0.0}
    assert first["coverage"]["ac"] == pytest.approx(1 / 60)
    assert (first["status"], first["reason"]["code"]) == ("insufficient_data", "unplaced_ac")
    assert first["efficiencyRatio"] is None
    assert charge.hour(-40, 24)["energyConsumedAc"] is None  # in the silence nothing is known
    assert charge.hour(-62, 72)["energyConsumedAc"] == 38.5


def test_a_register_that_stands_still_for_days_is_known_all_the_time(charge: Charge) -> None:
    charge.post([(-62 * 60.0, 1000.0), (0, 1000.0)], [], readingType="register")
    answer = charge.hour(-22)
    assert (answer["energyConsumedAc"], answer["coverage"]["ac"]) == (0.0, 1.0)


def test_a_daily_energy_is_spread_over_the_hours_of_its_day(charge: Charge) -> None:
    days = [(1440.0 * day, 24.0) for day in range(-4, 1)]
    charge.post(days, [])
    for hour in (8 - 30, 8 - 1):
        answer = charge.hour(hour)
        assert (answer["energyConsumedAc"], answer["coverage"]["ac"]) == (1.0, 1.0)
