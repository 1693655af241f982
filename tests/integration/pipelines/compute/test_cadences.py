"""A device's own cadence in the tables of hours and in live state, as runs note it."""

import json

import polars as pl
import pytest

from lake import HOUR
from lake.schema import HEARTBEAT_COMPLETENESS_HOURLY
from pipelines.verify.__main__ import main
from tests.harness.pipelines import PipelineStack
from tests.integration.pipelines.compute.test_hours_beside import (
    compute_what_waits,
    deliver,
    readings,
)
from tests.samples import HOUR_10

QUARTERS, MINUTES, CLASSED = "METER015", "METER001", "METER030"


def expected(stack: PipelineStack) -> list[tuple[float, float | None]]:
    """Of each hour how many heartbeats of meters were expected, and how complete they are."""
    table = stack.table(HEARTBEAT_COMPLETENESS_HOURLY.name).filter(pl.col("stream") == "meter")
    return table.sort("hour_start").select("heartbeats_expected", "completeness_percent").rows()


def noted(stack: PipelineStack) -> dict[str, float | None]:
    rows = stack.rows(b"SELECT meter_id, cadence_seconds FROM meter_live_state ORDER BY meter_id")
    return {row["meter_id"]: row["cadence_seconds"] for row in rows}


def findings(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    """What `verify` finds."""
    capsys.readouterr()
    main(["--json"])
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)["findings"]
    return found


def test_runs_note_how_often_devices_send_and_expect_no_more_of_them(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHARGER_CLASSES", json.dumps({"slow": {"cadence_seconds": 1800}}))
    sql = b"INSERT INTO device (stream, device_id, charger_class) VALUES ('meter', %(id)s, 'slow')"
    stack.rows(sql + b" RETURNING device_id", id=CLASSED)
    quarters = range(0, 180, 15)
    deliver(stack, readings(*range(300), device=MINUTES))
    deliver(stack, readings(*quarters, device=QUARTERS))
    deliver(stack, readings(*range(10, 180, 30), device=CLASSED))
    compute_what_waits(stack)
    assert noted(stack) == {MINUTES: None, QUARTERS: 900, CLASSED: 1800}
    each = 60 + 4 + 2
    assert expected(stack) == [(each, 100)] * 3 + [(each, pytest.approx(100 * 60 / each))] * 2

    # What comes late changes what is expected of a device that is silent since, as `verify` finds.
    deliver(stack, readings(*(at + 5 for at in quarters), device=QUARTERS))
    deliver(stack, readings(*(at + 10 for at in quarters), device=QUARTERS))
    assert findings(capsys) == []  # nobody expects it of what waits
    compute_what_waits(stack)
    each = 60 + 12 + 2
    assert expected(stack) == [(each, 100)] * 3 + [(each, pytest.approx(100 * 60 / each))] * 2
    assert noted(stack)[QUARTERS] == 300
    assert findings(capsys) == []

    # An import of history says nothing of now; a device that is nominal again has none of its own.
    deliver(stack, readings(*range(-1200, -1000, 15), device=MINUTES))
    deliver(stack, readings(*range(300, 360), device=QUARTERS))
    compute_what_waits(stack)
    assert noted(stack) == {MINUTES: None, QUARTERS: None, CLASSED: 1800}
    assert expected(stack)[-1][0] == 60 + 60 + 2
    last = stack.table(HEARTBEAT_COMPLETENESS_HOURLY.name)["hour_start"].max()
    assert last == HOUR_10 + 5 * HOUR
