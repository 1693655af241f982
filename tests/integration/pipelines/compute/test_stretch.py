"""A stretch of hours: a value that any process computes, as often as it has to, for one commit."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lake import HOUR, EnergySettings, replace_hours
from lake.delta import commit_replacement
from lake.schema import HOURLY_TABLES, VEHICLE_EFFICIENCY_HOURLY
from pipelines.compute.stretch import ComputedStretch, Stretch, compute_stretch, day_stretches
from tests.harness.pipelines import PipelineStack, StackTemplate, copied_stack
from tests.samples import HOUR_10

HOURS = [HOUR_10 - HOUR, HOUR_10, HOUR_10 + HOUR]


@pytest.fixture
def computed(computed_template: StackTemplate, tmp_path: Path) -> Iterator[PipelineStack]:
    """Three hours that a run has computed."""
    with copied_stack(computed_template, tmp_path / "lake") as stack:
        yield stack


def elsewhere(stretch: Stretch) -> ComputedStretch:
    """Result as another process has it sent."""
    found = pickle.dumps(compute_stretch(pickle.loads(pickle.dumps(stretch))))
    computed: ComputedStretch = pickle.loads(found)
    return computed


def rows(stack: PipelineStack) -> dict[str, pl.DataFrame]:
    return {spec.name: stack.table(spec.name) for spec in HOURLY_TABLES}


def test_a_stretch_by_value_is_seen_from_its_commit_on_and_holds_what_a_run_computes(
    computed: PipelineStack,
) -> None:
    expected = rows(computed)
    for spec in HOURLY_TABLES:
        nothing = pl.DataFrame(spec.schema.empty_table())
        replace_hours(computed.lake, spec, nothing, HOURS[0], HOURS[-1] + HOUR)
    whole = Stretch(
        computed.lake, computed.database_url, HOURS, EnergySettings(), 5, is_newest=True
    )

    once, again = elsewhere(whole), elsewhere(whole)

    assert all(found.is_empty() for found in rows(computed).values())
    for done in (once, again, once):  # a process that died is computed again, and both may end
        for written in done.written:
            commit_replacement(computed.lake, written)
    for name, found in rows(computed).items():
        assert_frame_equal(found, expected[name], check_exact=True)
    assert expected[VEHICLE_EFFICIENCY_HOURLY.name].height == 3 * len(HOURS)
    assert not any(written.added for written in elsewhere(whole).written)


def test_stretches_are_the_contiguous_hours_of_each_utc_day() -> None:
    midnight = HOUR_10.replace(hour=0)
    hours = [midnight + n * HOUR for n in (25, 22, 23, 24, 20)]

    found = [[(hour - midnight) // HOUR for hour in part] for part in day_stretches(hours)]

    assert found == [[20], [22, 23], [24, 25]]
    assert [len(part) for part in day_stretches(midnight + n * HOUR for n in range(48))] == [24, 24]
    assert day_stretches([]) == []
