"""A bound on new ids: strays can't fill the database, and no known device is ever refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.collector import Collector, running_collector
from tests.harness.heartbeats import device, meter, vehicle
from tests.harness.postgres import copied_database
from tests.harness.waiting import wait_for
from warehouse_sql.api_keys import create_key

BOUND = 5


@pytest.fixture(scope="module")
def database(postgres: str, migrated_template: str) -> Iterator[str]:
    with copied_database(postgres, migrated_template) as url:
        yield url


@pytest.fixture(scope="module")
def api(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    folder = tmp_path_factory.mktemp("bound")
    bound = {"NEW_DEVICES_PER_HOUR": str(BOUND), "KEY_REFRESH_SECONDS": "0.1"}
    with running_collector(database, folder, **bound) as running:
        yield running


def key(api: Collector) -> dict[str, str]:
    """Headers with a key of its own, which has spent nothing; the collector knows it."""
    made = create_key(api.database_url, device("key"), ["ingest", "read"])
    headers = {"Authorization": f"Bearer {made}"}
    wait_for(
        lambda: api.http.get("/v1/status").status_code == 401
    )  # no key at all is needed before
    wait_for(lambda: api.http.get("/v1/status", headers=headers).status_code == 200)
    return headers


def test_new_devices_beyond_the_bound_are_refused_each_and_known_ones_go_on(
    api: Collector,
) -> None:
    mine, path = key(api), "/v1/ingest/meter/batch"
    first = [device("M") for _ in range(BOUND - 1)]
    taken = api.http.post(path, headers=mine, json=[meter(one) for one in first])
    assert taken.status_code == 201
    invalid = [meter(device("M"), 9_000) for _ in range(3)]  # makes no device known
    more = [device("M") for _ in range(3)]
    sent = [*invalid, *(meter(one) for one in more), *(meter(one) for one in first)]
    mixed = api.http.post(path, headers=mine, json=sent)
    assert mixed.status_code == 207
    assert mixed.json()["accepted"] == 1 + len(first)
    refused = [one for one in mixed.json()["errors"] if one["code"] == "too_many_new_devices"]
    assert [(one["index"], one["field"]) for one in refused] == [(4, "meterId"), (5, "meterId")]
    assert 600 < int(mixed.headers["retry-after"]) <= 2 * 3600 / BOUND
    assert "brings 5 in an hour; send it again later" in refused[0]["reason"]
    live = api.http.get("/v1/analytics/fleet/live", headers=mine, params={"ids": more})
    assert [one["meterId"] for one in live.json()["devices"]] == more[:1]

    for kind in ("meter", "telemetry"):
        again = api.http.post(f"/v1/ingest/{kind}", headers=mine, json=meter(more[1]))
        assert again.status_code == 429
        assert int(again.headers["retry-after"]) > 600
        known = api.http.post(f"/v1/ingest/{kind}", headers=mine, json=meter(first[0]))
        assert known.status_code == 201
    every = api.http.post(path, headers=mine, json=[meter(one) for one in more[1:]])
    assert (every.status_code, every.json()["accepted"]) == (429, 0)
    kept = api.http.get("/v1/rejections", headers=mine, params={"code": "too_many_new_devices"})
    assert kept.status_code == 200


def test_each_key_has_a_bound_of_its_own(api: Collector) -> None:
    for _ in range(2):
        cars = [vehicle(device("V")) for _ in range(BOUND)]
        posted = api.http.post("/v1/ingest/vehicle/batch", headers=key(api), json=cars)
        assert posted.status_code == 201


def test_what_another_collector_took_and_what_was_there_at_the_start_is_known(
    api: Collector, database: str, tmp_path: Path
) -> None:
    there = [device("M") for _ in range(BOUND)]
    assert api.http.post(
        "/v1/ingest/meter/batch", headers=key(api), json=[meter(one) for one in there]
    ).is_success
    bound = {"NEW_DEVICES_PER_HOUR": "1", "KEY_REFRESH_SECONDS": "0.1"}
    with running_collector(database, tmp_path / "other", True, **bound) as other:
        mine, path = key(other), "/v1/ingest/meter/batch"

        def send(*devices: str) -> int:
            beats = [meter(one) for one in devices]
            return other.http.post(path, headers=mine, json=beats).status_code

        assert send(*there, device("M")) == 201
        elsewhere = device("M")
        posted = api.http.post("/v1/ingest/meter", headers=key(api), json=meter(elsewhere))
        assert posted.status_code == 201
        assert send(elsewhere) == 201
        assert send(device("M")) == 429
