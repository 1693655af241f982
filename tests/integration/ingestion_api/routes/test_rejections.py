"""Refused records over the real collector: from a POST to the operator's page."""

import json

import pytest

from tests.harness.collector import Collector, collector_of_module, running_collector
from tests.harness.heartbeats import device, meter, vehicle
from tests.harness.postgres import copied_database
from tests.harness.waiting import wait_for

api = collector_of_module()


def kept(api: Collector, **filters: str) -> list[dict[str, str]]:
    """The rejections on the first page."""
    answer = api.http.get("/v1/rejections", params=filters)
    assert answer.status_code == 200, answer.text
    page: list[dict[str, str]] = answer.json()["rejections"]
    return page


def test_a_refused_record_is_shown_with_its_reason_and_the_taken_ones_are_not(
    api: Collector,
) -> None:
    good, bad = device("M"), device("M")
    answer = api.post("/v1/ingest/meter/batch", [meter(good), meter(bad, kwhConsumedAc=-1)])
    assert answer.status_code == 207
    wait_for(lambda: kept(api, device=bad))
    (found,) = kept(api, device=bad)
    assert found["reason"] == answer.json()["errors"][0]["reason"]
    assert (found["stream"], found["field"]) == ("meter", "kwhConsumedAc")
    assert bad in found["record"]
    assert found["sender"]
    assert kept(api, device=good) == []
    assert kept(api, device=bad, code=found["code"]) == [found]
    assert f'wattlake_rejects_total{{reason="{found["code"]}",stream="meter"}}' in (
        api.http.get("/metrics").text
    )


@pytest.mark.parametrize("path", ["vehicle", "vehicle/batch", "telemetry"])
def test_every_way_in_keeps_what_it_refuses(api: Collector, path: str) -> None:
    car = device("V")
    record = vehicle(car, kwhDeliveredDc=-1)
    answer = api.post(f"/v1/ingest/{path}", [record] if path.endswith("batch") else record)
    assert answer.status_code == 422
    wait_for(lambda: kept(api, device=car, stream="vehicle"))


@pytest.mark.parametrize("bad", ["\x00", "\ud800", "x" * 100, 5.5, None, ["\x00"], {"a": "\ud800"}])
def test_a_hostile_id_is_refused_and_kept(api: Collector, bad: object) -> None:
    before = {one["id"] for one in kept(api, stream="meter")}
    body = json.dumps(meter("M", meterId=bad))  # httpx itself can't say a lone surrogate
    assert api.http.post("/v1/ingest/meter", content=body).status_code == 422
    wait_for(lambda: {one["id"] for one in kept(api, stream="meter")} > before)


def test_what_was_refused_just_before_a_stop_is_kept(
    postgres: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with copied_database(postgres, migrated_template) as url:
        with running_collector(url, tmp_path_factory.mktemp("stop")) as collector:
            assert (
                collector.post("/v1/ingest/meter", meter("M", kwhConsumedAc=-1)).status_code == 422
            )
            collector.stop()
        assert collector.sql("SELECT device FROM rejection") == [("M",)]


def test_the_listing_is_described(api: Collector) -> None:
    call = api.http.get("/openapi.json").json()["paths"]["/v1/rejections"]["get"]
    assert {"200", "422", "503"} <= call["responses"].keys()
