"""Hours that are computed together: each has the tables that it has alone, to the last bit."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TypeVar
from unittest.mock import patch

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from lake import HOUR, METER, VEHICLE, EnergySettings
from lake.rollups import parts
from lake.rollups.hour import HourInputs, efficiency_of_hour, health_of_hour
from lake.rollups.hour_batch import tables_of_hours
from tests.unit.energy_recomputation import HOUR_10, charger_classes, links, readings
from tests.unit.energy_samples import (
    charged_at,
    exclusive_links,
    meter_rows,
    patiently,
    vehicle_rows,
)

T = TypeVar("T")

SETTINGS = EnergySettings(_env_file=None)


@st.composite
def an_hour(draw: st.DrawFn) -> HourInputs:
    """An hour in which devices are silent, linked, expected and of a class, or not."""
    meters, vehicles = (
        readings(stream, draw(rows))
        for stream, rows in ((METER, none_or(meter_rows())), (VEHICLE, none_or(vehicle_rows())))
    )
    expected = draw(st.sets(st.sampled_from(["1", "2", "9"])))
    return HourInputs(
        start=HOUR_10,
        meters=meters,
        vehicles=vehicles,
        links=links(draw(none_or(exclusive_links()))),
        charger_classes=charger_classes(draw(charged_at)),
        expected={
            stream.name: pl.LazyFrame(
                {stream.device: [f"{letter}{number}" for number in expected]},
                schema={stream.device: pl.String},
            )
            for stream, letter in ((METER, "M"), (VEHICLE, "V"))
        },
    )


def none_or(rows: st.SearchStrategy[list[T]]) -> st.SearchStrategy[list[T]]:
    return st.just([]) | rows


@patiently
@given(
    st.lists(st.tuples(an_hour(), st.integers(1, 30)), min_size=2, max_size=5),
    st.sampled_from([1, 3]),
)
def test_hours_together_have_the_tables_of_each_alone_to_the_last_bit(
    several: Sequence[tuple[HourInputs, int]], threads: int
) -> None:
    hours, ahead = [], 0
    for hour, step in several:
        hours.append(moved(hour, ahead * HOUR))
        ahead += step
    with patch.object(parts, "LEAST_ROWS", 1), patch("polars.thread_pool_size", lambda: threads):
        together = tables_of_hours(hours, SETTINGS)
    for hour, found in zip(hours, together, strict=True):
        alone = {**efficiency_of_hour(hour, SETTINGS), **health_of_hour(hour, SETTINGS)}
        assert found.keys() == alone.keys()
        for name, rows in alone.items():
            assert_frame_equal(found[name], rows, check_exact=True)


def moved(hour: HourInputs, ahead: timedelta) -> HourInputs:
    """The same hour, later."""
    later = pl.selectors.datetime() + ahead
    return HourInputs(
        start=hour.start + ahead,
        meters=hour.meters.with_columns(later),
        vehicles=hour.vehicles.with_columns(later),
        links=hour.links.with_columns(later),
        charger_classes=hour.charger_classes,
        expected=hour.expected,
    )
