"""The nightly archive, as the nightly job runs it."""

from datetime import UTC, datetime, timedelta

import pytest

from lake import HOUR, METER, scan_history
from tests.harness.pipelines import PipelineStack, run_maintenance
from tests.samples import meter_rows

STEPS = f"archive.{METER.history_table}_archive", f"archive.{METER.raw_table}_merge"


@pytest.mark.usefixtures("next_hour_is_far")
def test_days_that_have_passed_become_one_file_with_the_same_rows(stack: PipelineStack) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    old, young = midnight - timedelta(days=4), midnight - timedelta(days=2)
    hours = [start + n * HOUR for start in (old, young) for n in (0, 1, 2)]
    for hour in hours * 2:
        row = {"timestamp": hour, "received_at": hour + timedelta(seconds=2)}
        stack.deliver(METER, meter_rows(row))
    for hour in hours:  # one after the other, as they end
        stack.run_hours(hour, hour)
    window = old, midnight
    before = scan_history(stack.lake, METER, *window).sort(METER.key).collect()

    done = run_maintenance(stack, *STEPS)

    assert scan_history(stack.lake, METER, *window).sort(METER.key).collect().equals(before)
    history, raw = STEPS
    assert (done[history]["days"], done[history]["files_merged"]) == (1, 3)
    assert (done[raw]["hours"], done[raw]["files_merged"]) == (3, 6)
    again = run_maintenance(stack, *STEPS)
    assert again[history]["days"] == 0
    assert again[raw]["hours"] == 0
