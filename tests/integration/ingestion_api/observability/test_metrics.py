"""What /metrics tells of a running collector, and the Grafana dashboard over it."""

import json
import re
import time
from collections import defaultdict
from pathlib import Path

import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.harness.collector import Collector, collector_of_module
from tests.harness.heartbeats import device, meter, vehicle
from tests.harness.waiting import wait_for

GRAFANA = Path(__file__).parents[4] / "docs/grafana"
DASHBOARD = GRAFANA / "wattlake.json"
RULES = GRAFANA / "rules.yml"
UNITS = (
    "_seconds",
    "_hours",
    "_bytes",
    "_rows",
    "_info",
    "_up",
    "_active",
    "_open",
    "_letters",
    "_fds",
)
ONE, MANY = "/v1/ingest/meter", "/v1/ingest/vehicle/batch"


# With a cell that never answers, whose figure is told as well.
api = collector_of_module(
    FLUSH_SECONDS="0.5", CELL_DATABASE_URLS="away=postgresql://nobody@127.0.0.1:1/nothing"
)


def families(collector: Collector) -> list[Metric]:
    answer = collector.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return list(text_string_to_metric_families(answer.text))


class Figures:
    """Every sample at one moment."""

    def __init__(self, collector: Collector) -> None:
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families(collector)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """Value of a sample; 0 for one that has not happened yet."""
        return self._values.get((name, frozenset(labels.items())), 0.0)

    def labels(self, name: str) -> list[dict[str, str]]:
        """The labels of all samples of that name."""
        return [dict(labels) for found, labels in self._values if found == name]


def test_every_figure_moves_by_what_has_happened(api: Collector) -> None:
    wait_for(lambda: api.http.get("/v1/status").json()["outboxRows"] == 0)
    before = Figures(api)

    def moved(name: str, **labels: str) -> float:
        return Figures(api)(name, **labels) - before(name, **labels)

    assert api.post(ONE, meter(device("M"))).status_code == 201
    assert api.post(MANY, [vehicle(device("V")) for _ in range(3)]).status_code == 201
    mixed = [meter(device("M")), meter(device("M"), kwhConsumedAc=-1), vehicle(device("V"), 86_400)]
    answer = api.post("/v1/ingest/telemetry", mixed)
    assert answer.status_code == 207
    reasons = [error["code"] for error in answer.json()["errors"]]
    assert api.http.get("/v1/analytics/meter/nobody/live").status_code == 404
    wait_for(lambda: moved("wattlake_lake_rows_total", stream="vehicle") == 3)
    wait_for(lambda: moved("wattlake_lake_rows_total", stream="meter") == 2)
    wait_for(lambda: Figures(api)("wattlake_outbox_rows", stream="vehicle") == 0)

    for route, status in (
        (ONE, "201"),
        (MANY, "201"),
        ("/v1/ingest/telemetry", "207"),
        ("/v1/analytics/meter/{meter_id}/live", "404"),
    ):
        method = "GET" if status == "404" else "POST"
        assert moved("wattlake_requests_total", method=method, route=route, status=status) == 1
        assert moved("wattlake_request_seconds_count", route=route, status=status) == 1
        assert 0 < moved("wattlake_request_seconds_sum", route=route, status=status) < 30
    for stream, outcome, count in (
        ("meter", "accepted", 2),
        ("meter", "rejected", 1),
        ("vehicle", "accepted", 3),
        ("vehicle", "rejected", 1),
    ):
        assert moved("wattlake_records_total", stream=stream, outcome=outcome) == count
    for stream, reason in zip(("meter", "vehicle"), reasons, strict=True):
        assert moved("wattlake_rejects_total", stream=stream, reason=reason) == 1
    assert moved("wattlake_group_commit_rows_sum") == 5
    assert moved("wattlake_group_commit_rows_count") == 3
    assert moved("wattlake_group_commit_seconds_count") == 3
    for stream, rows in (("meter", 2), ("vehicle", 3)):
        assert moved("wattlake_flush_rows_sum", stream=stream) == rows
        flushes = moved("wattlake_flush_rows_count", stream=stream)
        assert 1 <= flushes <= rows
        assert moved("wattlake_flush_seconds_count", stream=stream) == flushes
        assert moved("wattlake_delta_commit_seconds_count", stream=stream) == flushes
        assert moved("wattlake_delta_commit_seconds_sum", stream=stream) < moved(
            "wattlake_flush_seconds_sum", stream=stream
        )
    assert moved("wattlake_flush_failures_total", cause="lake") == 0
    now = Figures(api)
    assert now("wattlake_queued_rows") == 0
    assert now("wattlake_queue_limit_rows") == 200_000
    assert now("wattlake_outbox_limit_rows") == 50_000_000
    assert now("wattlake_outbox_limit_bytes") == 10 * 1024**3
    assert now("wattlake_outbox_age_warning_seconds") == 600
    assert now("wattlake_hours_lag_warning_seconds") == 1800
    assert now("wattlake_database_up") == now("wattlake_lake_writer_active") == 1
    assert 0 <= time.time() - now("wattlake_last_flush_timestamp_seconds") < 30
    assert now("process_resident_memory_bytes") > 50e6
    assert now("process_cpu_seconds_total") > before("process_cpu_seconds_total")
    open_now = len(list(Path(f"/proc/{api.pid}/fd").iterdir()))
    assert abs(now("process_open_fds") - open_now) < 10
    assert len(now.labels("wattlake_build_info")) == 1


def test_a_lake_that_is_away_shows_in_the_outbox_and_the_failures(api: Collector) -> None:
    wait_for(lambda: api.http.get("/v1/status").json()["outboxRows"] == 0)
    before = Figures(api)
    away = api.lake_folder.with_name("away")
    api.lake_folder.rename(away)
    api.lake_folder.write_text("no folder")
    assert api.post(ONE, meter(device("M"))).status_code == 201

    def failures() -> float:
        return Figures(api)("wattlake_flush_failures_total", cause="lake")

    try:
        wait_for(lambda: Figures(api)("wattlake_outbox_rows", stream="meter") == 1)
        wait_for(lambda: failures() > before("wattlake_flush_failures_total", cause="lake"))
        first = Figures(api)("wattlake_outbox_age_seconds")
        assert Figures(api)("wattlake_outbox_age_seconds") > first > 0
        assert Figures(api)("wattlake_outbox_bytes") > 0
    finally:
        api.lake_folder.unlink()
        away.rename(api.lake_folder)
    wait_for(lambda: Figures(api)("wattlake_outbox_rows", stream="meter") == 0)
    rows = Figures(api)("wattlake_lake_rows_total", stream="meter")
    assert rows == before("wattlake_lake_rows_total", stream="meter") + 1
    assert Figures(api)("wattlake_outbox_age_seconds") == 0
    assert Figures(api)("wattlake_lake_writer_active") == 1


def test_every_family_has_a_help_text_a_type_and_a_unit_in_its_name(api: Collector) -> None:
    found = families(api)
    assert len(found) > 20
    for family in found:
        assert family.documentation, family.name
        assert family.type in {"counter", "gauge", "histogram"}, family.name
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples), family.name
        else:
            assert family.name.endswith(UNITS), family.name


def test_a_client_cannot_make_new_series(api: Collector) -> None:
    for number in range(3):
        assert api.http.get(f"/v1/made/up/{number}").status_code == 404
        assert api.http.get(f"/v1/analytics/meter/made-up-{number}/live").status_code == 404
        assert api.http.request("PROPFIND", "/v1/status").status_code == 405
        invented = {f"meterId{number}": "M", "type": f"kind {number}"}
        assert api.post("/v1/ingest/telemetry", invented).status_code == 422
    text = api.http.get("/metrics").text
    assert 'method="other",route="/v1/status",status="405"' in text
    assert 'method="GET",route="none",status="404"' in text
    for invention in ("made", "PROPFIND", "kind 1", "meterId"):
        assert invention not in text


def test_the_dashboard_shows_every_figure_of_the_collector(api: Collector) -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    shown = " ".join(target["expr"] for panel in panels for target in panel.get("targets", []))
    told = {family.name for family in families(api) if family.name.startswith("wattlake_")}
    assert {name for name in told if name not in shown} == set()


def test_dashboard_and_rules_ask_only_for_what_the_collector_tells(api: Collector) -> None:
    api.post(ONE, meter(device("M"), voltage=-1))
    api.post(ONE, {"meterId": "M"})
    figures = Figures(api)
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    by_scrape = {"job", "instance"}
    shown = defaultdict(list)
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            shown[panel["title"]].append(target["expr"])
    assert len(shown) > 20
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            sides = re.split(r" or | [<>=]+ ", rule["expr"])
            shown[rule["alert"]] += [side for side in sides if not side.isdecimal()]
    for title, expressions in shown.items():
        for expression in expressions:
            selectors = re.findall(r"([a-zA-Z_:]\w*)\{(.*?)\}", expression)
            assert selectors, (title, expression)
            for name, matchers in selectors:
                told = [{}] if name == "up" else figures.labels(name)
                known = [by_scrape | labels.keys() for labels in told]
                assert known, f"{title}: there is no {name}"
                asked = set(re.findall(r"(\w+)\s*[=!]~?\"", matchers))
                for grouping in re.findall(r"by \((.*?)\)", expression):
                    asked |= set(re.split(r",\s*", grouping))
                assert all(asked <= labels for labels in known), f"{title}: {name} by {asked}"
    assert "${datasource}" in json.dumps(dashboard["panels"])
    assert "datasource" in {one["name"] for one in dashboard["templating"]["list"]}
