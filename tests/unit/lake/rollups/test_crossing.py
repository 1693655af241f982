"""Hours that cut a reading of a slow device agree about it, however fast the other side is."""

from datetime import timedelta
from random import Random

import polars as pl
import pytest

from lake import HOUR, METER, VEHICLE, EnergySettings, Stream
from lake.energy.efficiency import efficiency_of_window
from lake.history import series_ends
from lake.rollups import HourInputs
from lake.rollups.crossing import lacking_readings
from tests.unit.energy_recomputation import HOUR_10, charger_classes, links, readings, seconds

SETTINGS = EnergySettings(_env_file=None)
CLASSES = charger_classes({}).collect()
LINKS = links(
    [("M1", "V1", HOUR_10 - timedelta(days=2), HOUR_10 + timedelta(days=4), "link")]
).collect()
CONTEXT = 20


def side(stream: Stream, energies: list[int], step: int, offset: int) -> pl.DataFrame:
    """Energies of each second, microwatt-hours, read each `step` seconds from `offset` on."""
    rows = [
        {
            stream.device: f"{stream.name[0].upper()}1",
            "timestamp": seconds(end),
            stream.energy: sum(energies[end - step : end]) / 1e9,
        }
        for end in range(offset + step, len(energies), step)
    ]
    return readings(stream, rows).collect()


def beside(rows: pl.DataFrame, start: int, stream: Stream) -> pl.DataFrame:
    """What an hour has of a device: its own heartbeats, and so many before and after."""
    timestamp, later = pl.col("timestamp"), seconds(start + 3600)
    is_before, is_after = timestamp < seconds(start), timestamp >= later
    soon = series_ends(rows.filter(is_after, timestamp < later + HOUR), stream).first
    after = rows.filter(is_after).head(CONTEXT)
    return pl.concat(
        [
            rows.filter(is_before).tail(CONTEXT),
            rows.filter(~is_before, ~is_after),
            soon if soon.height >= CONTEXT else after,
        ]
    )


def inputs(hour: int, ac: pl.DataFrame, dc: pl.DataFrame) -> HourInputs:
    return HourInputs(
        start=seconds(hour * 3600),
        meters=beside(ac, hour * 3600, METER).lazy(),
        vehicles=beside(dc, hour * 3600, VEHICLE).lazy(),
        links=LINKS.lazy(),
        charger_classes=CLASSES.lazy(),
        expected={},
    )


def with_lacking(rows: pl.DataFrame, every: pl.DataFrame, wanted: pl.DataFrame) -> pl.DataFrame:
    timestamp, device = pl.col("timestamp"), every.columns[0]
    for name, since, until in wanted.iter_rows():
        more = every.filter(pl.col(device) == name, timestamp >= since, timestamp < until)
        rows = pl.concat([rows, more.join(rows, on=[device, "timestamp"], how="anti")])
    return rows


@pytest.mark.parametrize(
    ("meter", "vehicle"),
    [
        ((3600, 300), (60, 0)),
        ((3600, 3000), (60, 17)),
        ((1800, 1200), (60, 0)),
        ((3600, 1200), (300, 40)),
        ((60, 31), (1, 0)),
        ((60, 0), (3600, 1250)),
        ((2 * 3600, 4200), (60, 0)),
    ],
)
def test_hours_of_a_slow_and_a_fast_device_have_the_efficiency_of_the_whole(
    meter: tuple[int, int], vehicle: tuple[int, int]
) -> None:
    hours = 3 if min(meter[0], vehicle[0]) < 10 else 12
    chance, power = Random(1), 0
    bought: list[int] = []
    for second in range(hours * 3600 + 7200):
        if second % 2820 == 0:  # sessions of 47 minutes and as long pauses
            power = chance.randint(1_000_000, 3_000_000) // 10 * 10 if not power else 0
        bought.append(power)
    ac = side(METER, bought, *meter)
    dc = side(VEHICLE, [energy * 9 // 10 for energy in bought], *vehicle)

    for hour in range(hours):
        start = HOUR_10 + hour * HOUR
        of_hour = inputs(hour, ac, dc)
        found = lacking_readings(of_hour, SETTINGS, CONTEXT)
        (row,) = efficiency_of_window(
            with_lacking(of_hour.meters.collect(), ac, found[METER.name]),
            with_lacking(of_hour.vehicles.collect(), dc, found[VEHICLE.name]),
            LINKS,
            CLASSES,
            start,
            start + HOUR,
            SETTINGS,
        ).tables.vehicles.to_dicts()
        whole = efficiency_of_window(
            ac, dc, LINKS, CLASSES, start, start + HOUR, SETTINGS
        ).tables.vehicles
        assert row == whole.to_dicts()[0]
        if row["status"] not in ("idle", "insufficient_data"):
            assert row["efficiency_percent"] == pytest.approx(90, abs=1)


@pytest.mark.parametrize("seed", range(12))
def test_hours_agree_on_the_rise_of_a_register_that_was_frozen(seed: int) -> None:
    """Over an edge, for minutes and for hours; a meter of 22 kW that reports each minute."""
    chance, hours = Random(seed), 8
    power = [0 if n // 5400 % 3 == 2 else 3_000_000 for n in range(hours * 3600 + 7200)]
    dc = side(VEHICLE, [energy * 9 // 10 for energy in power], chance.choice([60, 300]), 20)
    register = [sum(power[:n]) / 1e9 for n in range(60, len(power), 60)]
    for _ in range(4):
        first = chance.randrange(1, len(register) - 200)
        last = first + chance.choice([5, 25, 45, 58, 59, 60, 61, 62, 90, 180])
        register[first:last] = [register[first - 1]] * (last - first)
    ac = readings(
        METER,
        [
            {
                "meter_id": "M1",
                "timestamp": seconds(60 * n),
                "kwh_consumed_ac": value,
                "reading_type": "register",
            }
            for n, value in enumerate(register, start=1)
        ],
    ).collect()
    settings = EnergySettings(greatest_power_kw=22, _env_file=None)
    total = 0.0
    for hour in range(hours):
        start, of_hour = HOUR_10 + hour * HOUR, inputs(hour, ac, dc)
        found = lacking_readings(of_hour, settings, CONTEXT)
        (row,) = efficiency_of_window(
            with_lacking(of_hour.meters.collect(), ac, found[METER.name]),
            with_lacking(of_hour.vehicles.collect(), dc, found[VEHICLE.name]),
            LINKS,
            CLASSES,
            start,
            start + HOUR,
            settings,
        ).tables.vehicles.to_dicts()
        whole = efficiency_of_window(
            ac, dc, LINKS, CLASSES, start, start + HOUR, settings
        ).tables.vehicles
        assert row == whole.to_dicts()[0], (hour, found)
        total += row["energy_ac_kwh"]
    end = HOUR_10 + hours * HOUR
    (row,) = efficiency_of_window(
        ac, dc, LINKS, CLASSES, HOUR_10, end, settings
    ).tables.vehicles.to_dicts()
    assert total == pytest.approx(row["energy_ac_kwh"], abs=1e-8)


def test_devices_that_report_alike_lack_nothing() -> None:
    """Of most fleets nothing more is read."""
    power = [1_000_000] * 4 * 3600
    ac, dc = side(METER, power, 60, 0), side(VEHICLE, power, 60, 20)
    found = lacking_readings(inputs(1, ac, dc), SETTINGS, CONTEXT)
    assert all(rows.is_empty() for rows in found.values())
