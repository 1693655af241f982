"""A stretch of hours: a value that any process computes, as often as it has to, for one commit."""

import pickle

import dagster as dg
import polars as pl
from polars.testing import assert_frame_equal

from lake import HOUR, STREAMS, EnergySettings
from lake.delta import commit_replacement
from lake.schema import HOURLY_TABLES, VEHICLE_EFFICIENCY_HOURLY
from pipelines.automation.jobs import range_tags
from pipelines.compute.stretch import ComputedStretch, Stretch, compute_stretch, day_stretches
from pipelines.definitions import definitions
from pipelines.partitions import hour_key
from tests.harness.pipelines import PipelineStack
from tests.samples import HOUR_10

HOURS = [HOUR_10 - HOUR, HOUR_10, HOUR_10 + HOUR]


def compact(stack: PipelineStack) -> None:
    """Fill the history of all hours and compute nothing."""
    histories = {dg.AssetKey(stream.history_table) for stream in STREAMS.values()}
    job = definitions.resolve_implicit_global_asset_job_def()
    tags = range_tags(hour_key(HOURS[0]), hour_key(HOURS[-1]))
    part = job.get_subset(asset_selection=histories)
    assert part.execute_in_process(instance=stack.instance, tags=tags).success


def elsewhere(stretch: Stretch) -> ComputedStretch:
    """Result as another process has it sent."""
    found = pickle.dumps(compute_stretch(pickle.loads(pickle.dumps(stretch))))
    computed: ComputedStretch = pickle.loads(found)
    return computed


def rows(stack: PipelineStack) -> dict[str, pl.DataFrame]:
    return {spec.name: stack.table(spec.name) for spec in HOURLY_TABLES}


def test_a_stretch_by_value_is_seen_from_its_commit_on_and_holds_what_a_run_computes(
    charged: PipelineStack,
) -> None:
    compact(charged)
    whole = Stretch(charged.lake, charged.database_url, HOURS, EnergySettings(), 5, is_newest=True)

    once, again = elsewhere(whole), elsewhere(whole)

    assert all(found.is_empty() for found in rows(charged).values())
    for done in (once, again, once):  # a process that died is computed again, and both may end
        for written in done.written:
            commit_replacement(charged.lake, written)
    committed = rows(charged)
    versions = {name: charged.lake.open(name).version() for name in committed}
    charged.run_hours(HOURS[0], HOURS[-1])
    for name, found in rows(charged).items():
        assert_frame_equal(found, committed[name], check_exact=True)
    assert committed[VEHICLE_EFFICIENCY_HOURLY.name].height == 3 * len(HOURS)
    assert {name: charged.lake.open(name).version() for name in committed} == versions


def test_stretches_are_the_contiguous_hours_of_each_utc_day() -> None:
    midnight = HOUR_10.replace(hour=0)
    hours = [midnight + n * HOUR for n in (25, 22, 23, 24, 20)]

    found = [[(hour - midnight) // HOUR for hour in part] for part in day_stretches(hours)]

    assert found == [[20], [22, 23], [24, 25]]
    assert [len(part) for part in day_stretches(midnight + n * HOUR for n in range(48))] == [24, 24]
    assert day_stretches([]) == []
