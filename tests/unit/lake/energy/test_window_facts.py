"""Evidence of a window: the short way for pairs gives the same as the general way."""

from datetime import datetime

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from lake import METER, VEHICLE, EnergySettings
from lake.energy.charger_efficiency import charger_facts
from lake.energy.efficiency import vehicle_facts
from lake.energy.interval_energy import measured_energy
from lake.energy.window_facts import facts_of_window
from tests.unit.energy_recomputation import (
    HOUR_10,
    HOUR_11,
    Row,
    charger_classes,
    links,
    readings,
)
from tests.unit.energy_samples import (
    METERS,
    VEHICLES,
    charged_at,
    exclusive_links,
    meter_rows,
    patiently,
    vehicle_rows,
    with_context,
)

SETTINGS = EnergySettings(_env_file=None)

Range = tuple[str, str, datetime, datetime, str]


@st.composite
def mostly_pairs(draw: st.DrawFn) -> list[Range]:
    """Most meters feed a vehicle of their own the whole time; some links are of any other kind."""
    others = draw(st.one_of(st.just([]), exclusive_links()))
    ranges = [link for link in others if link[0] == "M3"]
    for meter, vehicle in zip(METERS, VEHICLES, strict=True):
        fed = draw(st.sampled_from([vehicle, vehicle, vehicle, "V1", None]))
        if fed and meter not in {of_meter for of_meter, *_ in ranges}:
            ranges.append((meter, fed, HOUR_10, HOUR_11, "rule"))
    return ranges


@patiently
@given(
    meter_rows(),
    vehicle_rows(),
    mostly_pairs(),
    charged_at,
    st.sampled_from([1, 3, 7e6]),
    st.sampled_from([None, None, "M1", "V1", "V3"]),
)
def test_pairs_have_the_facts_of_the_long_way_to_the_last_bit(
    meters: list[Row],
    vehicles: list[Row],
    ranges: list[Range],
    classes: dict[str, str],
    divisor: float,
    silent: str | None,
) -> None:
    ac, dc = (
        measured_energy(
            _divided(
                readings(stream, with_context(rows, stream, HOUR_10, HOUR_11, SETTINGS)), divisor
            ).filter(pl.col(stream.device) != (silent or "")),
            stream,
            HOUR_10,
            HOUR_11,
            SETTINGS,
        )
        for stream, rows in ((METER, meters), (VEHICLE, vehicles))
    )
    fed, known, window = links(ranges), charger_classes(classes), (HOUR_10, HOUR_11)
    of_vehicles, of_chargers = facts_of_window(ac, dc, fed, known, *window)
    _equal(of_vehicles, vehicle_facts(ac, dc, fed, known, *window).collect(), "vehicle_id")
    _equal(of_chargers, charger_facts(ac, dc, fed, known, *window).collect(), "meter_id")


def _divided(rows: pl.LazyFrame, divisor: float) -> pl.LazyFrame:
    """Energies of more decimals than a microwatt-hour has."""
    return rows.with_columns(pl.col("^kwh_.*$") / divisor)


def _equal(found: pl.DataFrame, expected: pl.DataFrame, device: str) -> None:
    assert_frame_equal(found.sort(device), expected.sort(device), check_exact=True)
