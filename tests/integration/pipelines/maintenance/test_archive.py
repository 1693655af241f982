"""The nightly archive, as the asset graph runs it."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from lake import HOUR, METER, scan_history
from pipelines.definitions import definitions
from tests.harness.pipelines import PipelineStack
from tests.samples import meter_rows


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

    done = archive(stack)

    assert scan_history(stack.lake, METER, *window).sort(METER.key).collect().equals(before)
    history, raw = (f"maintenance/{METER.history_table}_archive", "raw_meter_heartbeats_merge")
    assert (done[history]["days"], done[history]["files_merged"]) == (1, 3)
    assert (done[f"maintenance/{raw}"]["hours"], done[f"maintenance/{raw}"]["files_merged"]) == (
        3,
        6,
    )
    again = archive(stack)
    assert again[history]["days"] == 0
    assert again[f"maintenance/{raw}"]["hours"] == 0


def archive(stack: PipelineStack) -> dict[str, dict[str, object]]:
    """Run the archive of the meters' tables; the metadata of each asset."""
    keys = [f"{METER.history_table}_archive", f"{METER.raw_table}_merge"]
    result = definitions.resolve_job_def("maintenance").execute_in_process(
        instance=stack.instance,
        asset_selection=[dg.AssetKey(["maintenance", key]) for key in keys],
    )
    return {
        found.asset_key.to_user_string(): {k: v.value for k, v in found.metadata.items()}
        for event in result.get_asset_materialization_events()
        if (found := event.step_materialization_data.materialization) and found.asset_key
    }
