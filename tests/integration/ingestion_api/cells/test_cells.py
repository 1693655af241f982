"""Two collectors with a database each, and one lake: what people ask the one for all cells."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.harness.collector import Collector, running_collector
from tests.harness.heartbeats import device, meter, vehicle
from tests.harness.postgres import copied_database
from tests.harness.relay import Relay
from tests.harness.waiting import wait_for

RULES = """
rules:
  - {name: silent, kind: silent, threshold: 2s, severity: info}
"""


@dataclass
class Cells:
    """A home, another cell, and the way from the one to the other."""

    home: Collector
    west: Collector
    way: Relay


@pytest.fixture(scope="module")
def cells(
    postgres: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cells]:
    folder = tmp_path_factory.mktemp("cells")
    (folder / "rules.yaml").write_text(RULES)
    often = {"FLUSH_SECONDS": "0.2", "CELL_SECONDS": "0.1", "ALERT_SECONDS": "0.1"}
    with (
        copied_database(postgres, migrated_template) as here,
        copied_database(postgres, migrated_template) as there,
        Relay(there) as way,
        running_collector(there, folder, HOME_URL="https://fleet.example", **often) as west,
        running_collector(
            here,
            folder,
            CELL_DATABASE_URLS=f"west={way.url}",
            ALERT_RULES_FILE=str(folder / "rules.yaml"),
            ONLINE_INTERVALS="0.01",
            **often,
        ) as home,
    ):
        yield Cells(home, west, way)


def send(api: Collector, *heartbeats: dict[str, Any]) -> None:
    assert api.post("/v1/ingest/telemetry", list(heartbeats)).status_code == 201


def live(api: Collector, kind: str, name: str) -> dict[str, Any]:
    state: dict[str, Any] = api.http.get(f"/v1/analytics/{kind}/{name}/live").json()
    return state


def is_live(api: Collector, name: str, voltage: float) -> bool:
    return live(api, "meter", name).get("voltage") == voltage


def silent(api: Collector, name: str) -> list[dict[str, Any]]:
    answer = api.http.get("/v1/alerts", params={"deviceId": name, "state": "open"})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["alerts"]
    return found


def test_the_home_answers_for_devices_of_every_cell(cells: Cells) -> None:
    name, fed = device("meter"), device("vehicle")
    send(
        cells.west,
        meter(name, -60, kwhConsumedAc=0.1, voltage=231),
        vehicle(fed, -60, kwhDeliveredDc=0.09, soc=40, meterId=name),
    )
    wait_for(lambda: is_live(cells.home, name, 231))
    wait_for(lambda: live(cells.home, "vehicle", fed).get("soc") == 40)

    def energies() -> tuple[Any, Any]:
        answer = cells.home.http.get(f"/v1/analytics/performance/{fed}").json()
        return answer["energyConsumedAc"], answer["energyDeliveredDc"]

    wait_for(lambda: energies() == (0.1, 0.09))


def test_a_device_may_send_to_any_cell(cells: Cells) -> None:
    name = device("meter")
    for voltage, api in ((200, cells.home), (205, cells.west), (210, cells.home)):
        send(api, meter(name, voltage - 220, voltage=voltage))
        wait_for(partial(is_live, cells.home, name, voltage))
    send(cells.west, meter(name, -15, voltage=1))
    wait_for(lambda: is_live(cells.west, name, 1))
    assert is_live(cells.home, name, 210)


def test_another_cell_names_the_home_for_what_it_can_not_know(cells: Cells) -> None:
    answer = cells.west.http.get("/v1/analytics/performance/VEH001?hours=3")
    assert answer.status_code == 421
    asked = "https://fleet.example/v1/analytics/performance/VEH001?hours=3"
    assert answer.json()["detail"].endswith(asked)
    ready = cells.west.http.get("/readyz").json()
    assert (ready["ready"], ready["warnings"], ready["figures"]) == (True, [], None)
    assert cells.west.http.get("/docs").status_code == 200


def test_a_lost_cell_is_told_blocks_nothing_and_makes_no_device_silent(cells: Cells) -> None:
    elsewhere, moved, own = device("meter"), device("meter"), device("meter")
    send(cells.west, meter(elsewhere, 10), meter(moved, -1))  # not silent yet when it is cut off
    wait_for(lambda: "timestamp" in live(cells.home, "meter", elsewhere))
    cells.way.cut_and_hang()
    try:
        send(cells.home, meter(own))
        wait_for(lambda: silent(cells.home, own))
        assert silent(cells.home, elsewhere) == []
        cells.home.sql("UPDATE cell SET seen_at = seen_at - interval '1 minute'")
        wait_for(lambda: _warned(cells.home))
        (status,) = cells.home.http.get("/v1/status").json()["cells"]
        assert (status["name"], status["isSeen"]) == ("west", False)
        # Its collector takes heartbeats as before.
        send(cells.west, meter(elsewhere, 11, voltage=77))
        # A device that sends here meanwhile is watched here: clocks may differ by ten seconds.
        send(cells.home, meter(moved))
        cells.home.sql("UPDATE cell SET seen_at = seen_at - interval '1 minute'")
        wait_for(lambda: silent(cells.home, moved))
    finally:
        cells.way.resume()
    wait_for(lambda: is_live(cells.home, elsewhere, 77))
    wait_for(lambda: not _warned(cells.home))
    # Now it is watched again, and has been quiet for long enough.
    wait_for(lambda: silent(cells.home, elsewhere))


def _warned(api: Collector) -> bool:
    warnings = api.http.get("/readyz").json()["warnings"]
    return any("nothing is heard of the cell west" in warning for warning in warnings)
