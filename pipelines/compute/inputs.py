"""Inputs of the tables of an hour and of a day, read from the lake and Postgres."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time
from functools import partial

import polars as pl
import psycopg

from lake import (
    DAY,
    HOUR,
    METER,
    STREAMS,
    VEHICLE,
    EnergySettings,
    Lake,
    Stream,
    hour_of,
)
from lake.costs import Pricing
from lake.energy import (
    PAIR,
    contested_meters,
    energy_of_devices,
    links_around,
    links_by_rule,
    named_links,
)
from lake.history import READINGS_BESIDE, HistoryWindow, SequentialHistoryReader
from lake.rollups import (
    DayInputs,
    HourInputs,
    Tables,
    efficiency_of_day,
    health_of_day,
    lacking_readings,
)
from lake.schema import HOURLY_EFFICIENCY
from pipelines.compute.devices import (
    charger_classes,
    days_with_energy,
    expected_devices,
    with_cadences,
)
from pipelines.ledger import dirty_hours
from warehouse_sql.named_queries import query

HistoryReaders = Mapping[str, SequentialHistoryReader]


def history_readers(
    lake: Lake, connection: psycopg.Connection, settings: EnergySettings, end: datetime
) -> HistoryReaders:
    """Readers of the history by stream, for `hour_inputs` of ascending hours up to `end`."""
    return {
        name: SequentialHistoryReader(
            lake,
            stream,
            settings,
            end,
            waiting=dirty_hours(connection, stream),
            days=partial(days_with_energy, connection, stream),
        )
        for name, stream in STREAMS.items()
    }


def hour_inputs(
    history_readers: HistoryReaders,
    connection: psycopg.Connection,
    hour: datetime,
    settings: EnergySettings,
) -> HourInputs:
    """Inputs of one hour: heartbeats of the history, links and devices."""
    expected = _expected(connection, hour)
    meters, vehicles = (
        history_readers[stream.name].read(hour, hour + HOUR, expected[stream.name])
        for stream in (METER, VEHICLE)
    )

    def read_more(stream: str, wanted: pl.DataFrame) -> pl.DataFrame:
        return history_readers[stream].read_more(hour, wanted)

    return inputs_from_heartbeats(connection, meters, vehicles, read_more, hour, settings, expected)


def inputs_from_heartbeats(
    connection: psycopg.Connection,
    meters: pl.DataFrame,
    vehicles: pl.DataFrame,
    read_more: Callable[[str, pl.DataFrame], pl.DataFrame],
    hour: datetime,
    settings: EnergySettings,
    expected: Mapping[str, Collection[str]] | None = None,
) -> HourInputs:
    """Inputs of one hour with these heartbeats: those of the hour and their context, each once.

    What they lack for energy that crosses an edge is added; `read_more` reads of a stream what
    `lacking_readings` returned.
    """
    expected = _expected(connection, hour) if expected is None else expected
    inputs = _inputs(connection, meters, vehicles, hour, settings, expected)
    lacking = lacking_readings(inputs, settings, READINGS_BESIDE)
    if not any(wanted.height for wanted in lacking.values()):
        return inputs
    meters, vehicles = (
        pl.concat(
            [
                rows,
                read_more(stream.name, lacking[stream.name]).join(
                    rows, on=stream.key, how="anti", nulls_equal=True, maintain_order="left"
                ),
            ]
        )
        for rows, stream in ((meters, METER), (vehicles, VEHICLE))
    )
    inputs = _inputs(connection, meters, vehicles, hour, settings, expected)
    return replace(inputs, lacking=lacking)


def _inputs(
    connection: psycopg.Connection,
    meters: pl.DataFrame,
    vehicles: pl.DataFrame,
    hour: datetime,
    settings: EnergySettings,
    expected: Mapping[str, Collection[str]],
) -> HourInputs:
    classes = charger_classes(connection)
    meters = with_cadences(meters, connection, METER)
    vehicles = with_cadences(vehicles, connection, VEHICLE)
    links, contested = _links(connection, meters, vehicles, classes, hour, settings)
    return HourInputs(
        start=hour,
        meters=meters.lazy(),
        vehicles=vehicles.lazy(),
        links=links.lazy(),
        charger_classes=classes.lazy(),
        expected={
            name: pl.LazyFrame({stream.device: expected[name]}, {stream.device: pl.String})
            for name, stream in STREAMS.items()
        },
        rows=meters.height + vehicles.height + classes.height,
        contested=contested,
    )


def _expected(connection: psycopg.Connection, hour: datetime) -> dict[str, list[str]]:
    return {
        name: expected_devices(connection, stream, hour + HOUR) for name, stream in STREAMS.items()
    }


def day_inputs(
    lake: Lake, day: date, settings: EnergySettings, now: datetime, pricing: Pricing | None
) -> DayInputs:
    """Inputs of a UTC day, up to `now`: its hours, and heartbeats of vehicles."""
    start = datetime.combine(day, time(), UTC)
    end = min(start + DAY, max(hour_of(now), start + HOUR))
    return DayInputs(
        vehicles=HistoryWindow(lake, VEHICLE, start, end, settings),
        hours={
            spec.name: lake.scan(lake.open(spec.name))
            .filter(pl.col("date") == day, pl.col("hour_start") < end)
            .select(spec.names)
            .collect()
            for spec in HOURLY_EFFICIENCY
        },
        pricing=pricing,
    )


def _links(
    connection: psycopg.Connection,
    meters: pl.DataFrame,
    vehicles: pl.DataFrame,
    classes: pl.DataFrame,
    hour: datetime,
    settings: EnergySettings,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Links of an hour and of a day to either side of it, which a reading may reach over.

    With the meters that several vehicles name at a time.
    """
    start, end = hour, hour + HOUR
    by_rule = pl.DataFrame(schema=PAIR)
    if settings.link_by_trailing_number:
        by_rule = _pairs(connection, end).filter(
            pl.col(METER.device).is_in(_devices(meters, METER, classes, hour, settings))
            | pl.col(VEHICLE.device).is_in(_devices(vehicles, VEHICLE, classes, hour, settings))
        )
    explicit = _explicit(connection, start - DAY, end + DAY)
    if explicit.is_empty() and vehicles[METER.device].null_count() == vehicles.height:
        around = links_by_rule(by_rule.lazy(), start - DAY, end + DAY)
        return around.collect(), pl.DataFrame()
    named = named_links(vehicles.lazy(), settings).collect().lazy()
    links = links_around(explicit.lazy(), named, by_rule.lazy(), start, end)
    # As a plan, every table that reads the links would have it optimized again: a second an hour.
    found, contested = pl.collect_all([links, contested_meters(named, start, end)])
    return found, contested


def _explicit(connection: psycopg.Connection, start: datetime, end: datetime) -> pl.DataFrame:
    """Explicit links of the window, cut to it."""
    return pl.DataFrame(
        connection.execute(query("links_between"), {"start": start, "end": end}).fetchall(),
        schema={
            "meter_id": pl.String,
            "vehicle_id": pl.String,
            "valid_from": pl.Datetime("us", "UTC"),
            "valid_to": pl.Datetime("us", "UTC"),
        },
        orient="row",
    )


def _pairs(connection: psycopg.Connection, end: datetime) -> pl.DataFrame:
    """Pairs by the rule of the trailing number that count in the hour before `end`.

    Also those that were heard in the days before only: a meter that is silent for an hour must
    change no other link.
    """
    rows = connection.execute(query("pairs_of_hour"), {"end": end}).fetchall()
    return pl.DataFrame(rows, schema=PAIR, orient="row")


def _devices(
    readings: pl.DataFrame,
    stream: Stream,
    classes: pl.DataFrame,
    hour: datetime,
    settings: EnergySettings,
) -> list[str]:
    """Devices with a heartbeat in the hour, or with energy that flowed in it."""
    start, end = hour, hour + HOUR
    at = pl.col("timestamp")
    heard = readings.filter(at >= start, at < end)[stream.device].unique().to_list()
    others = readings.filter(~pl.col(stream.device).is_in(heard))
    energies = energy_of_devices(others, stream, settings, classes, start, end)
    return [*heard, *energies.filter(pl.col("energy_kwh") != 0)[stream.device]]


def day_tables(
    inputs: DayInputs, settings: EnergySettings
) -> tuple[Tables | None, frozenset[datetime]]:
    """The rows of each daily table for the day of `inputs`, by the name of the table.

    With them hours before the day whose readings are lost, and which they should have known.
    None where hours of the day have no facts, because an older version computed them; with it these
    hours: the day can be computed once they are computed again.
    Each frame has the columns of its TableSpec and the order of its key; it is empty where nothing
    was heard. Of a day that is not over the coverage is that of the time that has passed.
    """
    if without_facts := _hours_without_facts(inputs):
        return None, without_facts
    tables = {**efficiency_of_day(inputs, settings), **health_of_day(inputs, settings)}
    return tables, inputs.vehicles.lost


def _hours_without_facts(day: DayInputs) -> frozenset[datetime]:
    with_facts = [rows for rows in day.hours.values() if "reason" in rows.columns]
    old = (rows.filter(pl.col("reason").is_null())["hour_start"] for rows in with_facts)
    return frozenset(hour.astimezone(UTC) for hours in old for hour in hours)
