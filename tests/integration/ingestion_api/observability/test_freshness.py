"""Whether computed figures still come, as readiness, status, metrics and the overview tell it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lake import HOUR, hour_of
from local_stack.client.status import Figures
from tests.harness.collector import Collector, running_collector
from tests.harness.heartbeats import meter, vehicle
from tests.harness.waiting import wait_for

ADD = """
INSERT INTO partition_ledger (stream, hour, raw_rows, raw_version, last_arrival, waiting_since,
                              published_version, published_revision)
VALUES ('meter', %s, 1, 1, now(), %s, %s, CASE WHEN %s THEN 0 END)"""


def add(api: Collector, hour: datetime, waits: timedelta | None) -> None:
    """An hour of the ledger, computed, or waiting for so long."""
    since = None if waits is None else datetime.now(UTC) - waits
    api.sql(ADD, hour, since, 1 if waits is None else None, waits is None)


def told(api: Collector) -> tuple[Any, ...]:
    """State, hour that waits, older ones that wait, and the warning about them."""
    ready = api.http.get("/readyz").json()
    figures = ready["figures"] or {}
    about = [text for text in ready["warnings"] if "computed" in text or "figures" in text]
    return (
        figures.get("state"),
        figures.get("waitingHour"),
        figures.get("olderHoursWaiting"),
        about[0] if about else None,
    )


def iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.usefixtures("next_hour_is_far")
def test_figures_that_end_too_early_are_told_and_old_imports_cry_no_wolf(
    database_url: str, tmp_path: Path
) -> None:
    with running_collector(database_url, tmp_path) as api:
        running = hour_of(datetime.now(UTC))
        assert told(api) == ("none", None, 0, None)

        # A fleet that works, and an import of old heartbeats that waits for a while.
        assert api.post("/v1/ingest/meter", meter("M")).status_code == 201
        add(api, running - 3 * HOUR, None)
        for days in (40, 41, 42):
            add(api, running - timedelta(days=days), timedelta(hours=5))
        wait_for(lambda: told(api) == ("current", None, 3, None))

        # An hour that has just been closed is not late yet.
        add(api, running - 2 * HOUR, timedelta(minutes=1))
        two = iso(running - 2 * HOUR)
        wait_for(lambda: told(api)[:3] == ("current", two, 3))
        assert told(api)[3] is None

        api.sql(
            "UPDATE partition_ledger SET waiting_since = now() - interval '50 minutes'"
            " WHERE waiting_since > now() - interval '1 hour'"
        )
        wait_for(lambda: told(api)[0] == "late")
        end = running - 2 * HOUR
        warning = str(told(api)[3])
        assert f"figures end at {said(end)}: later hours wait" in warning
        status = api.http.get("/v1/status").json()["figures"]
        assert (status["state"], status["endAt"]) == ("late", iso(end))
        assert api.http.get("/readyz").status_code == 200  # heartbeats are taken
        assert api.http.get("/v1/analytics/overview").json()["figures"]["endAt"] == iso(end)
        lines = api.http.get("/metrics").text.splitlines()
        metrics = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        assert float(metrics["wattlake_figures_end_timestamp_seconds"]) == end.timestamp()
        assert 49 * 60 < float(metrics["wattlake_oldest_waiting_hour_seconds"]) < 60 * 60

        # The newest is computed, the one before it is not: a bad hour, and no lateness.
        api.sql(
            "UPDATE partition_ledger SET published_version = NULL, published_revision = NULL,"
            " waiting_since = now() - interval '40 minutes' WHERE hour = %s",
            running - 3 * HOUR,
        )
        api.sql(
            "UPDATE partition_ledger SET published_version = 1, published_revision = 0"
            " WHERE hour = %s",
            running - 2 * HOUR,
        )
        wait_for(lambda: told(api)[0] == "current" and told(api)[3] is not None)
        assert told(api)[1] == iso(running - 3 * HOUR)
        assert f"the hour from {said(running - 3 * HOUR)} waits" in str(told(api)[3])
        api.sql(
            "UPDATE partition_ledger SET published_version = 1, published_revision = 0"
            " WHERE hour = %s",
            running - 3 * HOUR,
        )

        # A fleet that is silent is another thing, also where a clock was ahead before.
        api.post("/v1/ingest/telemetry", [meter("AHEAD"), vehicle("AHEAD")])
        wait_for(lambda: api.http.get("/v1/status").json()["outboxRows"] in range(4))
        api.sql("UPDATE meter_live_state SET received_at = now() - interval '45 minutes'")
        for ahead in (
            "UPDATE meter_live_state SET received_at = now() + interval '3 days'"
            " WHERE meter_id = 'AHEAD'",
            "UPDATE vehicle_live_state SET received_at = now() + interval '3 days'",
        ):
            api.sql(ahead)
        wait_for(lambda: told(api)[0] == "silent")
        warning = str(told(api)[3])
        assert warning.startswith("no heartbeat has come since ")
        assert warning.endswith(f"figures end at {said(running - HOUR)}")
        api.sql("DELETE FROM meter_live_state WHERE meter_id <> 'AHEAD'")
        wait_for(lambda: told(api)[0] == "current")  # the hours of the lake came just now
        api.sql("UPDATE partition_ledger SET last_arrival = now() - interval '2 days'")
        wait_for(lambda: told(api)[0] == "silent")


def said(moment: datetime) -> str:
    """A time as people are told it."""
    today = moment.date() == datetime.now(UTC).date()
    return f"{moment:%H:%M} UTC" if today else f"{moment:%Y-%m-%d %H:%M} UTC"


def test_an_hour_waits_since_whatever_made_it_wait(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:

        def waits() -> bool:
            (row,) = conn.execute("SELECT waiting_since FROM partition_ledger").fetchall()
            return row[0] is not None

        conn.execute(
            "INSERT INTO partition_ledger (stream, hour, raw_version, last_arrival)"
            " VALUES ('meter', '2026-11-20T10:00Z', 4, now())"
        )
        assert waits()
        done = "UPDATE partition_ledger SET published_version = 4, published_revision = revision"
        conn.execute(done)
        assert not waits()
        conn.execute("UPDATE partition_ledger SET revision = revision + 1")
        assert waits()
        conn.execute(done)
        conn.execute("UPDATE partition_ledger SET raw_version = 5")
        assert waits()


@pytest.mark.parametrize(
    ("state", "end", "text"),
    [
        ("current", datetime(2026, 11, 20, 15, tzinfo=UTC), None),
        ("none", None, None),
        ("late", datetime(2026, 11, 20, 15, tzinfo=UTC), "figures end at 15:00 UTC"),
        ("late", datetime(2026, 11, 19, 15, tzinfo=UTC), "figures end at 2026-11-19 15:00 UTC"),
        ("late", None, "no figures yet"),
        (
            "silent",
            datetime(2026, 11, 20, 15, tzinfo=UTC),
            "no heartbeat since 14:41 UTC, figures end at 15:00 UTC",
        ),
    ],
)
def test_the_terminal_says_where_figures_end_with_the_date_unless_it_is_today(
    state: str, end: datetime | None, text: str | None
) -> None:
    now = datetime(2026, 11, 20, 17, 5, tzinfo=UTC)
    heard = datetime(2026, 11, 20, 14, 41, tzinfo=UTC)
    figures = Figures.model_validate({"state": state, "endAt": end, "lastHeartbeatAt": heard})
    assert figures.delay_text(now) == text
