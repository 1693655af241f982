"""The links of a day are those that its hours have resolved."""

from datetime import datetime

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from lake import HOUR, METER, VEHICLE, EnergySettings
from lake.energy.efficiency import vehicle_efficiency
from lake.energy.interval_energy import measured_energy
from lake.energy.links import named_links, resolve_links
from lake.rollups.day_links import links_of_hours
from tests.unit.energy_recomputation import HOUR_10, Row, charger_classes, readings
from tests.unit.energy_samples import exclusive_links, naming_rows, patiently

SETTINGS = EnergySettings(_env_file=None)
HOURS = tuple(HOUR_10 + n * HOUR for n in range(3))
PAIRS = pl.LazyFrame({"meter_id": ["M1", "M2", "M3"], "vehicle_id": ["V1", "V2", "V3"]})

Range = tuple[str, str, datetime, datetime, str]


def resolved(rows: pl.LazyFrame, explicit: pl.LazyFrame, hour: datetime) -> pl.DataFrame:
    """The links of an hour as it resolves them from all that was heard up to its end."""
    known = rows.filter(pl.col("timestamp") < hour + HOUR)
    window = hour, hour + HOUR
    return resolve_links(explicit, named_links(known, SETTINGS), PAIRS, *window).collect()


def row_of(links: pl.DataFrame, hour: datetime) -> pl.DataFrame:
    """The rows of an hour in which nobody measured anything."""
    window = hour, hour + HOUR
    ac, dc = (
        measured_energy(readings(stream, []), stream, *window, SETTINGS)
        for stream in (METER, VEHICLE)
    )
    table = vehicle_efficiency(ac, dc, links.lazy(), charger_classes({}), *window, SETTINGS)
    return table.collect()


@settings(patiently, max_examples=8)
@given(naming_rows(hours=3), exclusive_links(), st.booleans())
def test_a_day_has_the_links_that_its_hours_have_resolved(
    rows: list[Row], ranges: list[Range], has_links: bool
) -> None:
    time = pl.Datetime("us", "UTC")
    explicit = pl.LazyFrame(
        [link[:4] for link in ranges if has_links],
        schema={
            "meter_id": pl.String,
            "vehicle_id": pl.String,
            "valid_from": time,
            "valid_to": time,
        },
        orient="row",
    )
    heartbeats = readings(VEHICLE, rows)
    of_hours = [resolved(heartbeats, explicit, hour) for hour in HOURS]
    hours = pl.concat([row_of(links, hour) for links, hour in zip(of_hours, HOURS, strict=True)])
    found = links_of_hours(hours, explicit, heartbeats, SETTINGS)
    order = ["meter_id", "valid_from"]
    assert found.sort(order).equals(pl.concat(of_hours).sort(order))
