"""Sums, coverage and counts of each vehicle and charger in a window.

Nearly all of a fleet are pairs: a meter and a vehicle that one link joins for the whole window, and
no other touches. No link cuts their readings and no energy is shared, so each side is added up as
it is, once for both tables. So it is for devices without a link. Whatever else hangs together goes
by `vehicle_facts` and `charger_facts`, which would give the same bits for the pairs.
"""

from datetime import datetime

import polars as pl

from lake.energy.attribution import label_side, number_devices, sum_readings
from lake.energy.charger_efficiency import (
    CHARGER_FACTS,
    LINKED_ENERGY,
    charger_facts,
    finish_charger_facts,
)
from lake.energy.efficiency import MEAN_TEMPERATURE, VEHICLE_FACTS, vehicle_facts
from lake.energy.interval_energy import round_to_microwatt_hours
from lake.energy.links import clip_links
from lake.energy.matched_share import (
    coverage,
    known_time,
    matched_readings,
    on_axis,
    share_of_energy,
)
from lake.energy.time_axis import TimeAxis
from lake.engine import IN_MEMORY
from lake.schema.partitions import utc_window


def facts_of_window(
    meters: pl.LazyFrame,
    vehicles: pl.LazyFrame,
    links: pl.LazyFrame,
    classes: pl.LazyFrame,
    start: datetime,
    end: datetime,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows of `vehicle_facts` and of `charger_facts`, in any order.

    The arguments are those of `charger_facts`.
    """
    start, end = utc_window(start, end)
    within = clip_links(links, start, end).collect()
    is_pair = (
        (pl.col("valid_from") == start)
        & (pl.col("valid_to") == end)
        & (pl.len().over("meter_id") == 1)
        & (pl.len().over("vehicle_id") == 1)
    )
    pairs, others = within.filter(is_pair), within.filter(~is_pair).lazy()
    meters, vehicles = meters.cache(), vehicles.cache()
    found = [_facts_of_pairs(meters, vehicles, pairs.lazy(), others, classes, TimeAxis(start, end))]
    if pairs.height < within.height:
        ac, dc = (
            rows.join(others, on=device, how="semi", maintain_order="left").cache()
            for rows, device in ((meters, "meter_id"), (vehicles, "vehicle_id"))
        )
        found.append(
            (
                vehicle_facts(ac, dc, others, classes, start, end),
                charger_facts(ac, dc, others, classes, start, end),
            )
        )
    tables = pl.collect_all([table for both in found for table in both], engine=IN_MEMORY)
    return pl.concat(tables[0::2]), pl.concat(tables[1::2])


def _facts_of_pairs(
    meters: pl.LazyFrame,
    vehicles: pl.LazyFrame,
    pairs: pl.LazyFrame,
    others: pl.LazyFrame,
    classes: pl.LazyFrame,
    axis: TimeAxis,
) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """The facts of all devices but those in `others`, the links that are no pairs."""
    of_meters = (
        number_devices(meters, pairs, "meter_id").join(others, on="meter_id", how="anti").cache()
    )
    of_vehicles = number_devices(vehicles, pairs, "vehicle_id").join(
        others, on="vehicle_id", how="anti"
    )
    of_vehicles = of_vehicles.cache()
    numbers = (
        pairs.join(of_meters, on="meter_id")
        .join(of_vehicles, on="vehicle_id")
        .select(meter="number", vehicle="number_right")
        .cache()
    )
    ac, dc = on_axis(meters, axis).cache(), on_axis(vehicles, axis).cache()
    known_ac, known_dc = known_time(ac).cache(), known_time(dc).cache()
    matched_ac = matched_readings(ac, _beside(known_dc, numbers, "vehicle", "meter", axis))
    matched_dc = matched_readings(dc, _beside(known_ac, numbers, "meter", "vehicle", axis)).cache()
    # A charger is given whole microwatt-hours.
    given = matched_dc.with_columns(round_to_microwatt_hours(pl.col("energy_kwh"))).filter(
        pl.col("energy_kwh") != 0
    )
    for facts in (
        label_side(sum_readings(ac, axis, "number"), axis, "ac"),
        coverage(known_ac, axis, "ac"),
        share_of_energy(matched_ac, "ac"),
    ):
        of_meters = of_meters.join(facts, on="number", how="left")
    for facts in (
        label_side(sum_readings(dc, axis, "number", MEAN_TEMPERATURE), axis, "dc"),
        coverage(known_dc, axis, "dc"),
        share_of_energy(matched_dc, "dc"),
        share_of_energy(given, "given"),
    ):
        of_vehicles = of_vehicles.join(facts, on="number", how="left")
    of_meters, of_vehicles = of_meters.drop("number").cache(), of_vehicles.drop("number").cache()
    links = pairs.select("meter_id", "vehicle_id", link_source="source")
    facts_of_vehicles = (
        of_vehicles.join(links, on="vehicle_id", how="left")
        .join(of_meters, on="meter_id", how="left")
        .join(classes, on="meter_id", how="left")
        .with_columns(meter_ids=_alone("meter_id"))
        .select(VEHICLE_FACTS)
    )
    is_linked = pl.col("vehicle_id").is_not_null()
    facts_of_chargers = (
        of_meters.join(links, on="meter_id", how="left")
        .join(of_vehicles, on="vehicle_id", how="left")
        .with_columns(
            vehicle_ids=_alone("vehicle_id"),
            matched_share_ac=pl.when(is_linked).then("matched_share_ac"),
            matched_share_dc=pl.col("matched_share_given"),
            longest_gap_seconds=pl.col("gap_ac"),
            data_points_meter=pl.col("data_points_ac"),
            data_points_vehicle=pl.col("data_points_dc"),
            **{LINKED_ENERGY: pl.when(is_linked).then("energy_ac_kwh")},
        )
        .pipe(finish_charger_facts, classes, axis)
        .select(CHARGER_FACTS)
    )
    return facts_of_vehicles, facts_of_chargers


def _beside(
    known: pl.LazyFrame, numbers: pl.LazyFrame, owner: str, other: str, axis: TimeAxis
) -> pl.LazyFrame:
    """Known time of the owners, in the places of the devices that they are linked to."""
    moved = axis.start_position(other) - axis.start_position("number")
    length = pl.col("ends") - pl.col("begins")
    return (
        known.join(numbers, left_on="number", right_on=owner)
        .select(number=other, begins=pl.col("begins") + moved, ends=pl.col("ends") + moved)
        .sort("begins")
        .with_columns(before=length.cum_sum() - length)
    )


def _alone(device: str) -> pl.Expr:
    """A list of one id; null where there is none."""
    return pl.when(pl.col(device).is_not_null()).then(pl.concat_list(device))
