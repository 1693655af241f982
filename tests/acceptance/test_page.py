"""The page on the screen, in a real browser in front of a real collector."""

import itertools
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest
from playwright.sync_api import Browser, Locator, ViewportSize, expect

from lake import HOUR, Lake, hour_of
from lake.delta.replace import replace_hours
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_HOURLY
from lake.schema.charging_session import CHARGING_SESSION
from lake.schema.device_condition import EFFICIENCY_TREND
from lake.schema.vehicle_efficiency import FLEET_EFFICIENCY_HOURLY
from lake.sessions import identified_sessions
from tests.acceptance.browser import Watched, chromium, watched_page
from tests.harness.collector import Collector, collector_of_module
from tests.harness.heartbeats import device, moment, vehicle
from tests.harness.reports import put_report
from tests.harness.sessions import store_sessions
from tests.harness.waiting import wait_for
from tests.maintenance_samples import DAY, store_visits
from tests.table_samples import put, table_rows
from tests.unit.lake.sessions import samples
from tests.unit.pipelines.report.report_samples import figures, page_of
from tests.unit.vehicle_hour_samples import vehicle_hour
from warehouse_sql.api_keys import create_key

VEHICLES = 10_000
CURVED = "VEH99042"
DESK, PHONE = ViewportSize(width=1440, height=900), ViewportSize(width=390, height=844)
SCREENS = {"desk-light": (DESK, "light"), "phone-dark": (PHONE, "dark")}
LIVE_VEHICLES = """
INSERT INTO vehicle_live_state
SELECT 'VEH' || lpad(n::text, 5, '0'),
       now() - make_interval(secs => CASE WHEN mod(n, 97) = 0 THEN 300 ELSE random() * 60 END),
       CASE WHEN mod(n, 3) = 0 THEN 0.118 ELSE 0 END, random() * 100, 20 + random() * 15, NULL,
       'interval', now() - interval '1 hour'
FROM generate_series(1, %s) AS n"""
LIVE_METERS = """
INSERT INTO meter_live_state
SELECT 'METER' || lpad(n::text, 5, '0'), now() - make_interval(secs => random() * 60),
       CASE WHEN mod(n, 3) = 0 THEN 0.132 ELSE 0 END, 230, 'interval', now() - interval '1 hour'
FROM generate_series(1, %s) AS n"""

Open = Callable[..., Watched]
api = collector_of_module(
    FLUSH_SECONDS="1",
    KEY_REFRESH_SECONDS="0.1",
    TARIFF_FILE=str(Path(__file__).parents[2] / "docs" / "tariff.example.yaml"),
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def blank(api: Collector, browser: Browser) -> str:
    """Text of the page before any device was heard."""
    base = str(api.http.base_url)
    context = browser.new_context(viewport=DESK)
    with watched_page(context, base) as watched:
        watched.page.goto(base)
        expect(watched.page.locator("#link-text")).to_have_text("Live")
        expect(watched.page.locator("#alerts-none")).to_have_text("No alert is open.")
        watched.assert_usable()
        watched.keep("empty")
        text = watched.page.locator("main").inner_text()
    context.close()
    return text


@pytest.fixture(scope="module")
def fleet(api: Collector, blank: str) -> Collector:
    """10,000 vehicles and meters in the live tables, one with a day's curve, and computed hours."""
    del blank  # it saw the collector before this
    api.sql(LIVE_VEHICLES, VEHICLES)
    api.sql(LIVE_METERS, VEHICLES)
    now = datetime.now(UTC)
    minutes = [now - timedelta(minutes=ago) for ago in range(1439, 0, -1) if not 500 < ago < 560]
    side: dict[str, list[dict[str, Any]]] = {"meter": [], "vehicle": []}
    for at in minutes:
        sent = at.isoformat()
        charges = at > now - timedelta(hours=12)
        side["meter"].append(
            {
                "meterId": CURVED.replace("VEH", "METER"),
                "timestamp": sent,
                "kwhConsumedAc": 0.13 * charges,
                "voltage": 231.0,
            }
        )
        side["vehicle"].append(
            {
                "vehicleId": CURVED,
                "timestamp": sent,
                "kwhDeliveredDc": 0.115 * charges,
                "soc": 30.0 + 50 * charges,
                "batteryTemp": 22.0 + 8 * charges,
            }
        )
    for kind, heartbeats in side.items():
        assert api.post(f"/v1/ingest/{kind}/batch", heartbeats).status_code == 201
    computed(api, hour_of(now))
    api.sql("ANALYZE")
    return api


def computed(api: Collector, until: datetime) -> None:
    """24 hours before `until` in which chargers lost energy, in the lake and in Postgres."""
    lake, hours = Lake(str(api.lake_folder)), [until - n * HOUR for n in range(1, 25)]
    energies = {"energy_ac_kwh": 9000.0, "energy_dc_kwh": 7900.0, "loss_kwh": 1056.0}
    rated = {"rated_energy_ac_kwh": 8800.0, "rated_energy_dc_kwh": 7744.0}
    fleet = {**energies, **rated, "efficiency_percent": 88.0, "unlinked_energy_ac_kwh": 120.0}
    chargers = [
        {
            "meter_id": f"METER{n:05}",
            "energy_ac_kwh": 10.0,
            "energy_dc_kwh": 10.0 - n / 4,
            "matched_energy_ac_kwh": 10.0,
            "matched_energy_dc_kwh": 10.0 - n / 4,
            "loss_kwh": n / 4,
            "efficiency_percent": 100 - 2.5 * n,
            "status": "good",
            "vehicle_ids": [f"VEH{n:05}"],
        }
        for n in range(3, 17)
    ]
    for table, rows in ((FLEET_EFFICIENCY_HOURLY, [fleet]), (CHARGER_EFFICIENCY_HOURLY, chargers)):
        content = [{"hour_start": hour, **row} for hour in hours for row in rows]
        replace_hours(lake, table, table_rows(table, *content), hours[-1], until)
    for hour in hours:
        api.sql(
            "INSERT INTO fleet_efficiency_hourly VALUES"
            " (%s, 9000, 7900, 8800, 7744, 1056, 88, 120, 10000, 3011, 4350, 1210, 214, 1050, 95,"
            " 40, 30) ON CONFLICT DO NOTHING",
            hour,
        )


@pytest.fixture
def last_day(fleet: Collector, next_hour_is_far: None) -> None:
    """The last 24 hours as they are now are computed, where one has ended since the first test."""
    computed(fleet, hour_of(datetime.now(UTC)))


@pytest.fixture(scope="module")
def charged(fleet: Collector) -> str:
    """A session of one vehicle over the last hours, and one of another that goes on; its id."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    meter = CURVED.replace("VEH", "METER")
    one = samples.heartbeats(
        [(1, 6.5)], 0, 9, vehicle=CURVED, meter=meter, soc=60.0, battery_temp=24.0
    )
    two = samples.heartbeats([(8, 9)], 0, 9, vehicle="VEH00020", meter="METER00020")
    links = [
        samples.by_rule(-24, 24, CURVED, meter),
        samples.by_rule(-24, 24, "VEH00020", "METER00020"),
    ]
    found = samples.sessions_of([*one[0], *two[0]], [*one[1], *two[1]], links, 0, 9)
    moved = pl.col(pl.Datetime("us", "UTC")) + (now - samples.at(9))
    none = pl.DataFrame(CHARGING_SESSION.schema.empty_table()).select(CHARGING_SESSION.names)
    cost = {"cost_of_energy": pl.lit("9.9").cast(pl.Decimal(38, 17)), "currency": pl.lit("EUR")}
    rows = identified_sessions(found.with_columns(moved), none).sort("begins").with_columns(**cost)
    store_sessions(fleet.database_url, rows)
    name: str = rows["session_id"][0]
    return name


@pytest.fixture
def show(fleet: Collector, browser: Browser) -> Iterator[Open]:
    """Opens a page and waits for its figures; afterwards it must have done nothing wrong."""
    with ExitStack() as stack:

        def opened(path: str = "/", *expected: str, **context: Any) -> Watched:
            base = str(fleet.http.base_url)
            made = stack.enter_context(browser.new_context(**{"viewport": DESK, **context}))
            watched = stack.enter_context(watched_page(made, base, *expected))
            watched.page.goto(base + path)
            return watched

        yield opened


def live(watched: Watched) -> Watched:
    """The page once its figures are there."""
    expect(watched.page.locator("#link-text")).to_have_text("Live")
    return watched


def test_before_the_first_heartbeat_the_page_says_so(blank: str) -> None:
    assert "none yet" in blank
    assert "no hour is computed yet" in blank
    assert "NaN" not in blank
    assert "undefined" not in blank


def test_ten_thousand_vehicles_are_on_the_screen_at_once(
    show: Open, record_property: Callable[[str, object], None]
) -> None:
    page = live(show()).page
    for count in ("#vehicles-count", "#meters-count"):
        expect(page.locator(count)).to_have_text("10\u202f001")
    expect(page.locator("#day-efficiency")).to_have_text("88.0")
    expect(page.locator("#now-efficiency")).to_have_text(re.compile(r"^8\d\.\d$"))
    expect(page.locator("#status-legend")).to_contain_text("insufficient data")
    shown = page.evaluate("performance.getEntriesByName('figures')[0].startTime")
    record_property("milliseconds", round(shown))
    assert shown < 5_000  # a second, on a machine that does nothing else


def test_from_a_count_one_gets_to_the_devices_that_it_counts(show: Open) -> None:
    page = live(show()).page
    page.locator("#vehicles-legend button:not(.none)").last.click()
    first = page.locator("#vehicles-list a").first
    expect(first).to_have_attribute("href", re.compile("^/vehicles/VEH"))
    expect(page.locator("#vehicles-list p").first).to_contain_text("vehicles by last heartbeat")
    page.locator("#vehicles-legend button[aria-expanded=true]").click()
    expect(page.locator("#vehicles-list")).to_be_hidden()


@pytest.mark.usefixtures("last_day")
def test_the_day_says_what_was_lost_where_and_what_it_cost(show: Open, fleet: Collector) -> None:
    page = live(show()).page
    expect(page.locator("#day-ac")).to_have_text("218\u202f880")
    expect(page.locator("#day-unlinked")).to_have_text("2\u202f880")
    expect(page.locator("#day-loss")).to_have_text("25\u202f344")
    for cost in ("#day-ac-note", "#day-loss-note", "#day-point"):
        expect(page.locator(cost)).to_have_text(re.compile(r"^\d[\d\u202f]*\u202fEUR$"))
    day = fleet.http.get("/v1/analytics/overview").json()["last24Hours"]
    end = datetime.fromisoformat(day["lastHour"]) + HOUR
    window = {"start": day["firstHour"], "end": end.isoformat()}
    total = fleet.http.get("/v1/analytics/losses", params=window).json()["total"]
    assert total["energyAcKwh"] + total["unlinkedEnergyAcKwh"] == 218_880
    cost = f"{total['costOfEnergy']:_.0f}\u202fEUR".replace("_", "\u202f")
    expect(page.locator("#day-ac-note")).to_have_text(cost)
    worst = page.locator("#chargers-rows tr")
    expect(worst).to_have_count(10)
    expect(worst.first).to_contain_text("METER00016")
    expect(worst.first).to_contain_text("60.0")
    expect(page.locator("#hours-energy-drawing svg")).to_be_visible()
    page.locator("#hours-efficiency summary").click()
    expect(page.locator("#hours-efficiency-rows tr")).to_have_count(24)


@pytest.mark.usefixtures("last_day")
def test_depots_stand_with_what_their_chargers_lost_and_cost(show: Open, fleet: Collector) -> None:
    page = live(show()).page
    expect(page.locator("#chargers-rows tr")).to_have_count(10)
    expect(page.locator("#depots")).to_be_hidden()
    assert fleet.http.put("/v1/depots/north", json={}).status_code == 200
    there = fleet.http.patch("/v1/devices/meter/METER00016", json={"depot": "north"})
    assert there.status_code == 200
    for view in (DESK, PHONE):
        shown = live(show(viewport=view))
        row = shown.page.locator("#depots-rows tr")
        expect(row).to_have_count(1)
        expect(row).to_contain_text(re.compile(r"^north60\.0240\.096\.0[\d.]+\u202fEUR$"))
        shown.assert_usable()
        shown.keep(f"depots-{view['width']}")


def test_a_posted_heartbeat_shows_without_a_reload(show: Open, fleet: Collector) -> None:
    page, car = live(show()).page, device("V")
    assert fleet.post("/v1/ingest/vehicle", vehicle(car)).status_code == 201
    expect(page.locator("#ingest-newest-note")).to_have_text(car)
    page = live(show(f"/vehicles/{car}")).page
    assert fleet.post("/v1/ingest/vehicle", vehicle(car, 1, soc=43.2)).status_code == 201
    expect(page.locator("#live-soc")).to_have_text("43.2")


def test_an_alert_appears_and_is_acknowledged(show: Open, fleet: Collector) -> None:
    watched, car = live(show(color_scheme="dark")), device("V")
    page = watched.page
    assert fleet.post("/v1/ingest/vehicle", vehicle(car, batteryTemp=61.0)).status_code == 201
    row = page.locator("#alerts-rows tr", has_text=car)
    expect(row).to_contain_text("critical")
    watched.assert_usable()
    watched.keep("alerts")
    row.get_by_role("button", name="Silence 1 h").click()
    expect(row).to_contain_text("Silenced until")
    row.get_by_role("button", name="Unsilence").click()
    expect(row).not_to_contain_text("Silenced until")
    row.get_by_role("button", name="Acknowledge").click()
    expect(row).to_contain_text("acknowledged")
    expect(page.locator("#alerts-said")).to_contain_text("Acknowledged")
    assert page.evaluate("document.activeElement.id") == "alerts-title"
    (alert,) = fleet.http.get("/v1/alerts", params={"deviceId": car}).json()["alerts"]
    assert alert["acknowledgedAt"] is not None
    row.get_by_role("link", name=car).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(car)
    expect(page.locator("#alerts-rows tr")).to_contain_text("acknowledged")


def test_many_alerts_leave_room_for_the_rest_and_all_can_be_reached(
    show: Open, fleet: Collector
) -> None:
    fleet.sql(
        "INSERT INTO alert (rule, kind, device_kind, device_id, severity, since, observed_at,"
        " message) SELECT 'many', 'efficiency_status', 'vehicle', 'MANY' || n,"
        " CASE WHEN n = 1 THEN 'critical' ELSE 'info' END, now(), now(), 'one of many'"
        " FROM generate_series(1, 170) AS n"
    )
    try:
        page = live(show()).page
        shown, more = page.locator("#alerts-rows tr"), page.locator("#alerts-more")
        expect(shown).to_have_count(8)
        expect(page.locator("#alerts-count")).to_have_text("more than 50")
        expect(shown.filter(has_text="MANY1").first).to_contain_text("critical")
        below = page.locator("#hours-title").bounding_box()
        assert below is not None
        assert below["y"] < DESK["height"] + 200
        for count in (50, 150):
            more.click()
            expect(shown).to_have_count(count)
        more.click()
        expect(more).to_be_hidden()
        expect(page.get_by_role("link", name="MANY2", exact=True)).to_be_visible()
        page.locator("#alerts-fewer").click()
        expect(shown).to_have_count(8)
    finally:
        fleet.sql("DELETE FROM alert WHERE rule = 'many'")


def test_a_vehicles_curves_show_a_silence_as_a_gap_and_stand_in_tables(show: Open) -> None:
    watched = live(show(f"/vehicles/{CURVED}"))
    page = watched.page
    line = page.locator("#soc-drawing svg .mark-line path").first
    expect(line).to_have_attribute("d", re.compile(r"^M[^M]+M[^M]+$"))  # two lines, a gap between
    for name in ("energy", "efficiency", "soc", "temperature"):
        expect(page.locator(f"#{name}-drawing svg")).to_be_visible()
        page.locator(f"#{name} summary").click()
        assert page.locator(f"#{name}-rows tr").count() > 100
    expect(page.locator("#window-efficiency")).to_have_text("88.5")
    expect(page.locator("#live-meter")).to_have_text("METER99042")
    expect(page.locator("#live-meter a")).to_have_attribute("href", "/meters/METER99042")
    page.get_by_label("6 h").check()
    expect(page.locator("#window-title")).to_have_text("Last 6 hours")
    expect(page.locator("#window-ac")).to_have_text(re.compile(r"^4\d\.\d$"))
    page.get_by_label("31 d").check()
    expect(page.locator("#window-title")).to_have_text("Last 31 days")
    expect(page.locator("#step-note")).to_contain_text("Steps of 3 h")
    expect(page.locator("#window-ac")).to_have_text(re.compile(r"^[89]\d\.\d$"))


def test_charts_that_could_not_be_loaded_are_drawn_once_they_can(
    show: Open, fleet: Collector
) -> None:
    watched = show("/assets/none", "404", "ERR_FAILED")
    page = watched.page
    page.route("**/assets/charts/*", lambda route: route.abort())
    page.goto(str(fleet.http.base_url.join(f"vehicles/{CURVED}")))
    drawing = page.locator("#soc-drawing")
    expect(drawing).to_contain_text("can't be drawn")
    page.unroute("**/assets/charts/*")
    page.get_by_label("6 h").check()
    expect(drawing.locator("svg")).to_be_visible()
    assert all("dynamically imported module" in wrong for wrong in watched.wrongs)
    watched.wrongs.clear()


def test_a_window_that_fails_shows_no_figures_of_another(show: Open) -> None:
    page = live(show(f"/vehicles/{CURVED}", "422")).page
    figure = page.locator("#window-ac")
    expect(figure).to_have_text(re.compile(r"\d"))
    refused = {"status": 422, "json": {"detail": "a window may have 7 days at most"}}
    page.route("**/performance/*?*", lambda route: route.fulfill(**refused))
    page.get_by_label("31 d").check()
    expect(page.locator("#window-title")).to_have_text("Last 31 days")
    expect(figure).to_have_text("\N{EN DASH}")
    expect(page.locator("#soc-drawing svg")).to_have_count(0)
    trouble = page.locator("#window-trouble")
    expect(trouble).to_contain_text("7 days at most")
    heard = page.locator("#link-time").inner_text()
    expect(page.locator("#link-time")).not_to_have_text(heard)
    expect(trouble).to_be_visible()  # though the live state came in meanwhile
    page.get_by_label("24 h").check()
    expect(figure).to_have_text(re.compile(r"\d"))
    expect(trouble).to_be_hidden()


def test_on_a_phone_the_times_of_a_few_hours_can_be_read(show: Open, fleet: Collector) -> None:
    page = show("/assets/none", "404", viewport=PHONE).page
    answer = fleet.http.get("/v1/analytics/efficiency/fleet").json()
    few = {**answer, "rows": answer["rows"][:3]}
    page.route("**/v1/analytics/efficiency/fleet?*", lambda route: route.fulfill(json=few))
    page.goto(str(fleet.http.base_url))
    for name in ("hours-efficiency", "hours-energy"):
        expect(page.locator(f"#{name}-drawing svg")).to_be_visible()
        _assert_times_can_be_read(page.locator(f"#{name}-drawing"))


@pytest.mark.parametrize("name", SCREENS)
def test_both_pages_are_readable_on_a_desk_a_phone_and_in_the_dark(show: Open, name: str) -> None:
    size, scheme = SCREENS[name]
    for path, kind, drawn in (
        ("/", "fleet", "#hours-energy"),
        (f"/vehicles/{CURVED}", "vehicle", "#soc"),
        ("/meters/METER00016", "charger", None),
    ):
        watched = live(show(path, viewport=size, color_scheme=scheme))
        expect(watched.page.locator("#alerts-none, #alerts-table").first).to_be_attached()
        if drawn:
            expect(watched.page.locator(f"{drawn}-drawing svg")).to_be_visible()
            _assert_times_can_be_read(watched.page.locator(f"{drawn}-drawing"))
        else:
            table = watched.page.locator("#hours-table")
            expect(table).to_be_visible()
            assert table.evaluate("it => it.scrollWidth <= it.clientWidth")
        watched.assert_usable()
        watched.keep(f"{kind}-{name}")
        paper = watched.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(re.findall(r"\d+", paper)[0]) < 100) == (scheme == "dark")


@pytest.mark.parametrize("name", SCREENS)
def test_sessions_are_listed_and_each_has_a_page(show: Open, charged: str, name: str) -> None:
    size, scheme = SCREENS[name]
    watched = live(show("/sessions", viewport=size, color_scheme=scheme))
    page, listed = watched.page, watched.page.locator("#sessions-rows tr")
    expect(listed).to_have_count(2)
    expect(listed.first).to_contain_text("goes on")
    watched.assert_usable()
    watched.keep(f"sessions-{name}")
    page.get_by_label("Going on").check()
    expect(listed).to_have_count(1)
    page.get_by_label("All").check()
    listed.nth(1).get_by_role("link").first.click()
    expect(page).to_have_url(re.compile(charged))
    expect(page.locator("#ac")).to_have_text("39.6")
    expect(page.locator("#rated")).to_have_text("91.7")
    expect(page.locator("#cost")).to_have_text(re.compile(r"\d\u202fEUR$"))
    expect(page.locator("#evidence")).to_have_text("Found by AC energy, DC energy.")
    expect(page.locator("#energy-drawing svg")).to_be_visible()
    live(watched).assert_usable()
    watched.keep(f"session-{name}")
    page.locator("#devices").get_by_role("link", name=CURVED).click()
    expect(page.locator("#sessions-rows tr")).to_have_count(1)


@pytest.fixture
def visits(fleet: Collector) -> Iterator[None]:
    """A charger that drifts and a vehicle whose clock is off, and the trend of the charger."""
    trend = {
        "device_kind": "meter",
        "device_id": "METER00016",
        "weekly_level_percent": [None] * 20 + [0.5, -0.5] * 10 + [-0.7 * n for n in range(12)],
        "efficiency_percent": 84.2,
        "level_percent": -6.9,
        "level_error": 0.3,
        "z": -9.0,
        "slope_percent_a_month": -3.0,
        "days_to_limit": 52.0,
        "days_to_limit_low": 44.0,
        "days_to_limit_high": 61.0,
    }
    put(Lake(str(fleet.lake_folder)), EFFICIENCY_TREND, DAY, trend)
    money = {"at_stake_a_year": 1234.5, "mending_saves_a_year": 1234.5, "currency": "EUR"}
    clock = {"kind": "clock_error", "at_stake_kwh_a_year": 0.0, "mending_saves_kwh_a_year": 0.0}
    store_visits(
        fleet.database_url,
        {"device_id": "METER00016", "at_stake_kwh_a_year": 4100.0, **money},
        {"device_id": CURVED, "device_kind": "vehicle", **clock},
    )
    yield
    store_visits(fleet.database_url)
    fleet.sql("DELETE FROM maintenance_decision")
    fleet.sql("DELETE FROM condition_day")


@pytest.mark.usefixtures("visits")
@pytest.mark.parametrize("name", SCREENS)
def test_whom_to_visit_is_listed_and_a_visit_is_closed_with_a_reason(show: Open, name: str) -> None:
    size, scheme = SCREENS[name]
    watched = live(show("/maintenance", viewport=size, color_scheme=scheme))
    page, listed = watched.page, watched.page.locator("#visits-rows tr")
    expect(listed).to_have_count(2)
    expect(listed.first).to_contain_text("It drifts.")
    expect(listed.first).to_contain_text("1\u202f235\u202fEUR")
    expect(page.locator("#open-count")).to_have_text("2")
    watched.assert_usable()
    watched.keep(f"maintenance-{name}")
    listed.first.get_by_role("button", name="Close").click()
    expect(page.get_by_label("What was found or done")).to_be_focused()
    watched.keep(f"closing-{name}")
    page.keyboard.type("contactor replaced")
    page.keyboard.press("Enter")
    expect(listed).to_have_count(1)
    expect(page.locator("#visits-said")).to_have_text("Closed: meter METER00016.")
    assert page.evaluate("document.activeElement.id") == "visits-title"
    page.get_by_role("radio", name="Closed").check()
    expect(listed).to_contain_text("contactor replaced")
    page.get_by_role("button", name="Open again").click()
    expect(listed).to_have_count(0)
    page.get_by_role("radio", name="To visit").check()
    expect(listed).to_have_count(2)


@pytest.mark.usefixtures("visits")
def test_a_long_list_of_visits_is_shown_in_steps(show: Open, fleet: Collector) -> None:
    many = ({"device_id": f"METER{n:05}", "at_stake_kwh_a_year": 900.0 - n} for n in range(25))
    store_visits(fleet.database_url, *many)
    page = live(show("/maintenance", viewport=PHONE)).page
    shown, more = page.locator("#visits-rows tr"), page.locator("#visits-more")
    expect(page.locator("#open-count")).to_have_text("25")
    for count in (10, 20):
        expect(shown).to_have_count(count)
        more.click()
    expect(shown).to_have_count(25)
    expect(more).to_be_hidden()
    page.get_by_role("radio", name="Chargers").check()
    expect(shown).to_have_count(10)


@pytest.mark.usefixtures("visits")
@pytest.mark.parametrize("name", SCREENS)
def test_the_page_of_a_device_shows_how_it_fares(show: Open, name: str) -> None:
    size, scheme = SCREENS[name]
    watched = live(show("/meters/METER00016", viewport=size, color_scheme=scheme))
    page = watched.page
    expect(page.locator("#condition-reasons")).to_contain_text("It drifts. 90 % sure.")
    expect(page.locator("#condition-limit")).to_have_text("52 d")
    expect(page.locator("#levels-drawing svg")).to_be_visible()
    page.locator("#levels summary").click()
    expect(page.locator("#levels-rows tr")).to_have_count(32)
    watched.assert_usable()
    watched.keep(f"condition-{name}")
    page = live(show(f"/vehicles/{CURVED}")).page
    expect(page.locator("#condition-none")).to_contain_text("it takes eight weeks")
    expect(page.locator("#levels")).to_be_hidden()


def test_before_there_is_a_list_the_page_says_what_it_needs(show: Open) -> None:
    watched = live(show("/maintenance"))
    expect(watched.page.locator("#visits-none")).to_contain_text("No list is made yet")
    expect(watched.page.locator("#visits-none")).to_contain_text("200 sessions of five vehicles")
    watched.assert_usable()


def test_a_session_that_nobody_knows_is_told(show: Open) -> None:
    page = live(show("/sessions/00000000-0000-4000-8000-000000000000", "404")).page
    expect(page.locator("#unknown")).to_have_text("No session has this id.")
    expect(page.locator("#known")).to_be_hidden()


def _assert_times_can_be_read(drawing: Locator) -> None:
    axis = drawing.locator(".role-axis-label").first
    times: list[tuple[str, float, float]] = axis.evaluate(
        "axis => [...axis.querySelectorAll('text')]"
        ".filter(text => getComputedStyle(text).opacity > 0)"
        ".map(text => [text.textContent, text.getBoundingClientRect()])"
        ".map(([text, box]) => [text, box.left, box.right])"
    )
    assert len(times) > 2
    assert all(re.search(r":00$|^\w{3}( \d+)?$", text) for text, _, _ in times)
    assert all(left - right > 5 for (_, _, right), (_, left, _) in itertools.pairwise(times))


@pytest.mark.parametrize("car", ['V "1"/<b>#?%41&|', "V/../x", "VEH-ODD~'"])
def test_who_has_only_a_keyboard_finds_a_vehicle_whatever_its_id(
    show: Open, fleet: Collector, car: str
) -> None:
    assert fleet.post("/v1/ingest/vehicle", vehicle(car)).status_code == 201
    page = live(show()).page
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "search-text":
            break
    page.keyboard.type(car)
    expect(page.locator("#search-found a").first).to_contain_text(car)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(car)
    expect(page.locator("#live-age-note")).not_to_be_empty()


def test_from_a_charger_one_gets_to_the_vehicle_it_fed(show: Open) -> None:
    watched = live(show())
    page = watched.page
    page.locator("#chargers-rows tr").first.get_by_role("link", name="METER00016").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("METER00016")
    expect(page.locator("#live-voltage")).to_have_text("230.0")
    expect(page.locator("#hours-rows tr")).to_have_count(23)
    live(watched).assert_usable()
    watched.keep("meter")
    page.locator("#hours-rows").get_by_role("link", name="VEH00016").first.click()
    expect(page.locator("#live-meter")).to_have_text("METER00016")
    page.locator("#search-text").fill("METER00017")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("METER00017")
    expect(page.locator("#hours-none")).to_contain_text("No hour")


def test_the_search_goes_nowhere_until_it_is_clear_where(show: Open) -> None:
    page = live(show()).page
    text, said = page.locator("#search-text"), page.locator("#search-said")
    text.fill("VEH0001")
    page.keyboard.press("Enter")
    expect(said).to_contain_text("choose one")
    expect(page.locator("#search-found a").first).to_have_text(re.compile("^VEH00010"))
    text.fill("Müller")
    page.keyboard.press("Enter")
    expect(said).to_contain_text("1 to 64 printable ASCII characters")
    expect(page.get_by_role("heading", level=1)).to_have_text("Fleet")
    text.fill("veh00017")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("VEH00017")


def test_an_id_that_nobody_has_is_told_with_a_hint(show: Open) -> None:
    page = show("/vehicles/NO-SUCH", "404", "422").page
    told = page.get_by_role("alert").filter(has_text="NO-SUCH")
    expect(told).to_contain_text("No heartbeat of vehicle NO-SUCH")
    told.get_by_role("button", name="Search").click()
    expect(page.locator("#search-text")).to_be_focused()
    expect(page.locator("#search-said")).to_contain_text("id holds “NO-SUCH”")
    page.goto(page.url.replace("NO-SUCH", quote("Müller")))
    expect(page.get_by_role("alert").filter(has_text="No vehicle can have this id")).to_be_visible()


def test_figures_that_are_old_are_never_shown_as_live(show: Open, fleet: Collector) -> None:
    watched = show("/", "ERR_FAILED")
    page = live(watched).page
    page.clock.install()
    page.route("**/v1/**", lambda route: route.abort())
    page.clock.run_for(10_000)
    expect(page.locator("#link-text")).to_have_text("Not live")
    expect(page.locator("#trouble")).to_contain_text("s old: the collector does not answer")
    # A screen reader says it once, not each second with another age.
    reason = "the collector does not answer. It is asked again by itself."
    expect(page.get_by_role("alert").filter(has_text="does not answer")).to_have_text(reason)
    page.unroute("**/v1/**")
    page.clock.run_for(4_000)
    live(watched)


@pytest.mark.usefixtures("next_hour_is_far")
def test_where_figures_end_too_early_the_page_says_when(show: Open, fleet: Collector) -> None:
    wait_for(lambda: fleet.sql("SELECT count(*) FROM partition_ledger") != [(0,)])
    (end,) = fleet.sql("SELECT date_trunc('hour', now(), 'UTC') - interval '5 hours'")[0]
    fleet.sql(
        "UPDATE partition_ledger SET published_version = raw_version,"
        " published_revision = revision WHERE hour < %s",
        end,
    )
    fleet.sql(
        "UPDATE partition_ledger SET waiting_since = now() - interval '3 hours' WHERE hour >= %s",
        end,
    )
    end = end.astimezone(UTC)
    ends = f"{end:%H:%M}" if end.date() == datetime.now(UTC).date() else f"{end:%Y-%m-%d %H:%M}"
    for name, (size, scheme) in SCREENS.items():
        watched = show("/", viewport=size, color_scheme=scheme)
        expect(watched.page.locator("#link-text")).to_have_text(f"Figures end at {ends}")
        expect(watched.page.locator("#day-behind")).to_contain_text("are not computed yet")
        watched.assert_usable()
        watched.keep(f"fleet-behind-{name}")

    fleet.sql(
        "WITH one AS (UPDATE vehicle_live_state SET received_at = now() - interval '2 hours'"
        " RETURNING 1), other AS (UPDATE meter_live_state SET received_at = now()"
        " - interval '2 hours' RETURNING 1) SELECT 1"
    )
    fleet.sql(
        "UPDATE partition_ledger SET published_version = raw_version, published_revision = revision"
    )
    watched = show()
    expect(watched.page.locator("#link-text")).to_contain_text("Silent since")
    expect(watched.page.locator("#day-behind")).to_contain_text("No heartbeat has come since")
    watched.keep("fleet-silent")
    assert fleet.post("/v1/ingest/vehicle", vehicle(device("V"))).status_code == 201
    expect(watched.page.locator("#link-text")).to_have_text("Live")
    expect(watched.page.locator("#day-behind")).to_be_hidden()


def test_where_there_are_keys_one_is_asked_for_and_a_reader_cannot_acknowledge(
    show: Open, fleet: Collector
) -> None:
    car = device("V")
    assert fleet.post("/v1/ingest/vehicle", vehicle(car, batteryTemp=62.0)).status_code == 201
    wait_for(lambda: fleet.http.get("/v1/alerts", params={"deviceId": car}).json()["alerts"])
    reader = create_key(fleet.database_url, "reader", ["read"])
    wait_for(lambda: fleet.http.get("/v1/status").status_code == 401)
    try:
        watched = show("/", "401", "403")
        page = watched.page
        expect(page.get_by_role("textbox", name="API key")).to_be_focused()
        watched.keep("key")
        page.keyboard.type("wl_wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-said")).to_contain_text("unknown or revoked")
        page.keyboard.type(reader)
        page.keyboard.press("Enter")
        live(watched)
        row = page.locator("#alerts-rows tr", has_text=car)
        row.get_by_role("button", name="Acknowledge").click()
        expect(row.get_by_role("alert")).to_contain_text("takes a key with the scope admin")
        for path in (
            f"vehicles/{CURVED}",
            "meters/METER00016",
            "maintenance",
            "reports",
            "reports/2026-11-20",
        ):
            page.goto(str(fleet.http.base_url.join(path)))
            live(watched)  # the tab remembers
    finally:
        fleet.sql("DELETE FROM api_key")
        wait_for(lambda: fleet.http.get("/v1/status").status_code == 200)


def test_the_curve_of_a_window_is_that_of_its_performance(fleet: Collector) -> None:
    window = {"start": moment(-86_000), "end": moment(-60)}
    found = fleet.http.get(f"/v1/analytics/vehicle/{CURVED}/curve", params=window).json()
    whole = fleet.http.get(f"/v1/analytics/performance/{CURVED}", params=window).json()
    sums = {
        side: sum(point[side] or 0 for point in found["points"])
        for side in ("energyAcKwh", "energyDcKwh")
    }
    assert sums["energyAcKwh"] == pytest.approx(whole["energyConsumedAc"], abs=1e-9)
    assert sums["energyDcKwh"] == pytest.approx(whole["energyDeliveredDc"], abs=1e-9)
    assert found["stepSeconds"] == 300
    silent = [point for point in found["points"] if point["soc"] is None]
    assert 11 <= len(silent) <= 12
    # A reading after the silence covers the five minutes before it.
    assert sum(point["energyAcKwh"] is None for point in silent) >= len(silent) - 2
    for path in (f"/v1/analytics/vehicle/{CURVED}/curve", "/v1/analytics/vehicle/NOBODY/curve"):
        wrong = {"start": moment(0), "end": moment(-60)}
        expected = 404 if "NOBODY" in path else 422
        assert fleet.http.get(path, params=wrong).status_code == expected


def test_the_frames_and_files_load_nothing_else_and_are_kept(fleet: Collector) -> None:
    answer = fleet.http.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for path in re.findall(r'(?:src|href|data-charts)="(/assets/[^"]+)"', answer.text):
        asset = fleet.http.get(path)
        assert asset.status_code == 200
        assert "immutable" in asset.headers["cache-control"]
        assert fleet.http.get(path, headers={"Accept-Encoding": "identity"}).text == asset.text
    assert fleet.http.get("/assets/0123456789ab/page.css").status_code == 404
    assert fleet.http.get("/assets/charts/charts-0123456789ab.js").status_code == 404


def test_a_report_is_shown_with_its_style_and_charts(show: Open, fleet: Collector) -> None:
    report = page_of(figures(vehicle_hour("VEH00001", ac=10, dc=7)))
    rows = "period,vehicle_id\n2026-11-20,VEH00001\n"
    put_report(fleet.lake_folder, "2026-11-20", {"html": report, "csv": rows})
    put_report(fleet.lake_folder, "2026-11", {"html": report, "pdf": b"%PDF"})
    watched = live(show())
    page = watched.page
    page.get_by_role("navigation").get_by_role("link", name="Reports").click()
    live(watched)
    watched.assert_usable()
    watched.keep("reports")
    page.get_by_role("link", name="2026-11-20").click()
    inside = page.frame_locator("#report-page")
    expect(inside.locator("svg:visible")).to_have_count(1)
    drawn = inside.locator("svg:visible").bounding_box()
    assert drawn is not None
    assert drawn["height"] > 100
    assert inside.locator(".bar").evaluate("one => getComputedStyle(one).display") == "flex"
    whole = "one => one.contentDocument.documentElement.scrollHeight <= one.clientHeight"
    wait_for(lambda: page.locator("#report-page").evaluate(whole))
    watched.keep("report")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    assert download.value.suggested_filename == "efficiency-2026-11-20.csv"
    assert "VEH00001" in download.value.path().read_text("utf-8")
    to_vehicle = inside.get_by_role("link", name="VEH00001").first
    expect(to_vehicle).to_have_attribute("href", "/vehicles/VEH00001")
    expect(to_vehicle).to_have_attribute("target", "_top")
    page.goto(str(fleet.http.base_url.join("reports")))
    page.get_by_label("Months").check()
    expect(page).to_have_url(re.compile("/reports\\?period=month$"))
    with page.expect_download() as download:
        page.get_by_role("button", name="PDF").click()
    assert download.value.suggested_filename == "efficiency-2026-11.pdf"


def test_a_heartbeat_is_counted_in_the_rate_of_all_collectors(fleet: Collector) -> None:
    before = time.monotonic()

    def rate() -> float:
        found: float = fleet.http.get("/v1/analytics/overview").json()["ingest"]["recordsPerSecond"]
        return found

    cars = [vehicle(device("V"), -ago) for ago in range(2000)]
    assert fleet.post("/v1/ingest/vehicle/batch", cars).status_code == 201
    wait_for(lambda: rate() > 2000 / 65)
    assert time.monotonic() - before < 30
