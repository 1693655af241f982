"""Hours that cut a reading of a slow device agree about it, however fast the other side is."""

from datetime import timedelta
from random import Random

import polars as pl
import pytest

from lake import HOUR, METER, VEHICLE, EnergySettings, Stream
from lake.energy.efficiency import efficiency_tables
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


def beside(rows: pl.DataFrame, start: int) -> pl.DataFrame:
    """What an hour has of a device: its own heartbeats, and so many before and after."""
    timestamp = pl.col("timestamp")
    is_before, is_after = timestamp < seconds(start), timestamp >= seconds(start + 3600)
    return pl.concat(
        [
            rows.filter(is_before).tail(CONTEXT),
            rows.filter(~is_before, ~is_after),
            rows.filter(is_after).head(CONTEXT),
        ]
    )


def inputs(hour: int, ac: pl.DataFrame, dc: pl.DataFrame) -> HourInputs:
    return HourInputs(
        start=seconds(hour * 3600),
        meters=beside(ac, hour * 3600).lazy(),
        vehicles=beside(dc, hour * 3600).lazy(),
        links=LINKS.lazy(),
        charger_classes=CLASSES.lazy(),
        expected={},
    )


def with_lacking(rows: pl.DataFrame, every: pl.DataFrame, wanted: pl.DataFrame) -> pl.DataFrame:
    timestamp, device = pl.col("timestamp"), every.columns[0]
    for name, since, until in wanted.iter_rows():
        more = every.filter(pl.col(device) == name, timestamp >= since, timestamp < until)
        assert more.join(rows, on=[device, "timestamp"], how="semi").is_empty(), "read twice"
        rows = pl.concat([rows, more])
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
        (row,) = efficiency_tables(
            with_lacking(of_hour.meters.collect(), ac, found[METER.name]),
            with_lacking(of_hour.vehicles.collect(), dc, found[VEHICLE.name]),
            LINKS,
            CLASSES,
            start,
            start + HOUR,
            SETTINGS,
        ).vehicles.to_dicts()
        whole = efficiency_tables(ac, dc, LINKS, CLASSES, start, start + HOUR, SETTINGS).vehicles
        assert row == whole.to_dicts()[0]
        if row["status"] not in ("idle", "insufficient_data"):
            assert row["efficiency_percent"] == pytest.approx(90, abs=1)


def test_devices_that_report_alike_lack_nothing() -> None:
    """Of most fleets nothing more is read."""
    power = [1_000_000] * 4 * 3600
    ac, dc = side(METER, power, 60, 0), side(VEHICLE, power, 60, 20)
    found = lacking_readings(inputs(1, ac, dc), SETTINGS, CONTEXT)
    assert all(rows.is_empty() for rows in found.values())
