"""Random fleets, and one fleet as heartbeats for the oracle and as frames for `lake`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from random import Random
from typing import Any

import polars as pl

from lake.settings import ChargerClass, EnergySettings
from tests.oracle.facts import Heartbeat, Link, World
from tests.oracle.intervals import DAY, HOUR, KWH, SECOND, Limits
from tests.oracle.rows import micro, moment

MINUTE = 60 * SECOND
TEN = micro(datetime(2026, 11, 17, 10, tzinfo=UTC))
UTC_TIME = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class Fleet:
    """Heartbeats, links, classes and settings."""

    meters: tuple[Heartbeat, ...]
    vehicles: tuple[Heartbeat, ...]
    links: tuple[Link, ...]
    classes: Mapping[str, str | None]
    settings: EnergySettings

    @property
    def meter_ids(self) -> list[str]:
        """Of all meters with a heartbeat or a link."""
        return sorted({h.device for h in self.meters} | {k.meter for k in self.links})

    @property
    def vehicle_ids(self) -> list[str]:
        """Of all vehicles with a heartbeat or a link."""
        return sorted({h.device for h in self.vehicles} | {k.vehicle for k in self.links})

    def world(self) -> World:
        """As the oracle has it."""
        limits = {m: limits_of(self.settings, self.classes.get(m), True) for m in self.meter_ids}
        limits |= {v: limits_of(self.settings, None, False) for v in self.vehicle_ids}
        return World(
            {m: [h for h in self.meters if h.device == m] for m in self.meter_ids},
            {v: [h for h in self.vehicles if h.device == v] for v in self.vehicle_ids},
            self.links,
            limits,
        )

    def frames(self) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """As `efficiency_of_window` takes it: meters, vehicles, links, charger classes."""
        links = pl.DataFrame(
            [(k.meter, k.vehicle, moment(k.start), moment(k.end), k.source) for k in self.links],
            schema={
                "meter_id": pl.String,
                "vehicle_id": pl.String,
                "valid_from": UTC_TIME,
                "valid_to": UTC_TIME,
                "source": pl.String,
            },
            orient="row",
        )
        classes = pl.DataFrame(
            [(m, self.classes.get(m)) for m in self.meter_ids],
            schema={"meter_id": pl.String, "charger_class": pl.String},
            orient="row",
        )
        return (
            _frame(self.meters, "meter_id", "kwh_consumed_ac", {"voltage": pl.Float64}),
            _frame(
                self.vehicles,
                "vehicle_id",
                "kwh_delivered_dc",
                {"soc": pl.Float64, "battery_temp": pl.Float64, "meter_id": pl.String},
            ),
            links,
            classes,
        )


def limits_of(settings: EnergySettings, of_class: str | None, meter: bool) -> Limits:
    """Limits of a device, as section 5 has them."""
    described = settings.charger_classes.get(of_class or "", ChargerClass())
    power = settings.greatest_vehicle_power_kw
    size = settings.register_size_kwh if meter else None
    if meter:
        power = described.greatest_power_kw or settings.greatest_power_kw
        size = described.register_size_kwh or size
    cadence = described.cadence_seconds
    return Limits(
        power=Fraction(str(power)),
        noise=round(settings.register_noise_kwh * KWH),
        size=None if size is None else round(size * KWH),
        cadence=None if cadence is None else round(cadence * SECOND),
        nominal=round(settings.nominal_interval_seconds * SECOND),
    )


def _frame(
    beats: Iterable[Heartbeat], device: str, energy: str, more: Mapping[str, Any]
) -> pl.DataFrame:
    rows = [
        {
            device: h.device,
            "timestamp": moment(h.at),
            energy: None if h.energy is None else h.energy / KWH,
            "reading_type": "register" if h.register else "interval",
            "received_at": moment(h.at + 2 * DAY),
            "duplicates": h.duplicates,
            "interval_seconds": None if h.declared is None else h.declared / SECOND,
            "phase": h.phase,
            "conflicting_energy": None if h.other is None else h.other / KWH,
            "battery_temp": None if h.temperature is None else h.temperature / 1000,
        }
        for h in sorted(beats, key=lambda h: (h.device, h.at, h.phase or ""))
    ]
    schema = {
        device: pl.String,
        "timestamp": UTC_TIME,
        energy: pl.Float64,
        **more,
        "reading_type": pl.String,
        "received_at": UTC_TIME,
        "duplicates": pl.Int64,
        "interval_seconds": pl.Float64,
        "phase": pl.String,
        "conflicting_energy": pl.Float64,
    }
    return pl.DataFrame([{n: row.get(n) for n in schema} for row in rows], schema=schema)


CADENCES = [1, 10, 30, 60, 60, 60, 120, 300, 300, 900, 900, 3600, 14_400, 86_400]
WINDOWS = [(0, 60), (0, 60), (0, 60), (20, 50), (30, 60), (0, 15), (-15, 0)]


def random_window(random: Random) -> tuple[int, int]:
    """A window, often one hour; what is longer is merged from hours."""
    start, end = random.choice(WINDOWS)
    return TEN + start * MINUTE, TEN + end * MINUTE


def random_fleet(random: Random, start: int, end: int) -> Fleet:
    """A few meters and vehicles with everything that goes wrong."""
    tricky = random.random() < 0.5
    settings = EnergySettings(
        _env_file=None,
        charger_classes={
            "small": ChargerClass(greatest_power_kw=22),
            "rolls": ChargerClass(register_size_kwh=100),
            "slow": ChargerClass(cadence_seconds=900, good_from_percent=82),
        },
        greatest_vehicle_power_kw=random.choice([500, 22]),
    )
    meters = [f"M{n}" for n in range(random.choice([1, 1, 1, 2, 3]))]
    vehicles = [f"V{n}" for n in range(random.choice([1, 1, 2]))]
    classes = {m: random.choice([None, None, "small", "rolls", "slow"]) for m in meters}
    beats: dict[str, list[Heartbeat]] = {}
    charging = _charging(random, start, end)
    for device in meters + vehicles:
        phases: list[str | None] = [None]
        if device in meters and random.random() < 0.2:
            phases = random.choice([["L1", "L2"], ["L1", "L2", "L3"]])
        beats[device] = []
        same = random.random() < 0.7
        state = random.getstate()
        for phase in phases:
            if same:
                random.setstate(state)
            series = _series(random, device, phase, charging, start, end, tricky)
            if phase == "L2" and random.random() < 0.3:
                series = series[: random.randint(0, len(series))]
            beats[device] += series
    links = _links(random, meters, vehicles, beats, start, end)
    return Fleet(
        tuple(h for m in meters for h in beats[m]),
        tuple(h for v in vehicles for h in beats[v]),
        tuple(links),
        classes,
        settings,
    )


def _charging(random: Random, start: int, end: int) -> list[tuple[int, int, float]]:
    """When power flows: from, to, kW."""
    kw = random.choice([3.6, 7.2, 11.0, 22.0, 150.0])
    if random.random() < 0.4:
        return [(start - 9 * DAY, end + 9 * DAY, kw)]
    a = start + round((end - start) * random.uniform(-0.5, 0.8)) // SECOND * SECOND
    b = a + random.randint(5, 90) * MINUTE
    return [(a, b, kw)]


def _flow(charging: Sequence[tuple[int, int, float]], a: int, b: int) -> int:
    return sum(round(kw * KWH * max(0, min(b, d) - max(a, c)) / HOUR) for c, d, kw in charging)


def _series(  # noqa: PLR0912 - a branch for each fault
    random: Random,
    device: str,
    phase: str | None,
    charging: Sequence[tuple[int, int, float]],
    start: int,
    end: int,
    tricky: bool,
) -> list[Heartbeat]:
    cadence = random.choice(CADENCES) * SECOND
    times = _times(random, cadence, start, end)
    register = random.random() < 0.5
    mixed = tricky and random.random() < 0.15
    declared = random.choice([0.0, 0.0, 0.0, 1.0, 0.3])
    faulty = tricky and random.random() < 0.7
    share = random.choice([1.0, 0.92, 0.92, 0.85, 0.3])
    value = random.choice([0, 0, 5 * KWH, 99 * KWH, 1000 * KWH])
    session = value
    frozen = 0
    lost = random.choice([0.0, 0.0, 0.0, 0.05, 0.3, 0.5])
    every = random.choice([0, 0, 0, 2, 3])
    found: list[Heartbeat] = []
    before = times[0] - cadence if times else 0
    for n, at in enumerate(times):
        flow = round(share * _flow(charging, before, at))
        session += flow
        value += flow
        if random.random() < lost or (every and n % every == 0):
            if register:
                before = at
            continue
        before = at
        as_register = register
        if mixed and random.random() < 0.3:
            as_register = not register
        energy = flow
        if as_register:
            energy = value
            if faulty:
                luck = random.random()
                if luck < 0.03:
                    energy = 0
                elif luck < 0.06:
                    energy = value + random.choice([2, 60, 900]) * KWH
                elif luck < 0.10:
                    value = max(0, value - random.randint(1, 12) * KWH // 10)
                    energy = value
                elif luck < 0.12:
                    value = energy = random.choice([0, KWH // 20, 2 * KWH])
                elif luck < 0.14:
                    value = energy = value + random.choice([3, 70, 900]) * KWH
                elif luck < 0.16:
                    value, session = session, value
                    energy = value
                elif luck < 0.18:
                    value = energy = value % (100 * KWH)
                elif luck < 0.22:
                    frozen = random.randint(1, 14)
                elif luck < 0.28:
                    energy = max(0, value - random.randint(0, 20) * KWH // 100)
            if frozen and found and found[-1].energy is not None:
                frozen -= 1
                energy = found[-1].energy
        elif faulty and random.random() < 0.06:
            energy = random.choice([0, -flow, -KWH // 100, 7 * flow])
        other = None
        if tricky and random.random() < 0.04:
            other = random.choice([0, energy + KWH // 5, energy + KWH // 1000, 2 * energy])
            other = None if other == energy else other
        found.append(
            Heartbeat(
                device=device,
                at=at,
                energy=None if tricky and random.random() < 0.04 else energy,
                register=as_register,
                phase=phase,
                declared=cadence if not as_register and random.random() < declared else None,
                other=other,
                duplicates=random.choice([0, 0, 0, 1, 2]),
                temperature=random.choice([None, 20_000, 31_337]) if phase is None else None,
            )
        )
        if found[-1].energy is None:
            found[-1] = replace(found[-1], other=None, declared=None)
    return found


def _times(random: Random, cadence: int, start: int, end: int) -> list[int]:
    jitter = random.choice([0, 0, 1, SECOND, cadence // 20, cadence // 4])
    count = random.choice([3, 12, 40, 80])
    first = start - random.randint(0, 14) * cadence
    if cadence <= 60 * SECOND and random.random() < 0.5:
        first = random.randint(start // SECOND - 60, end // SECOND) * SECOND
    offset = random.choice([0, 0, 7 * MINUTE, 30 * SECOND, random.randint(0, cadence)])
    hole_at, hole = random.randint(0, count), random.choice([0, 0, 2, 10, 70]) * cadence
    faster_at, faster = random.randint(0, count), random.choice([1, 1, 1, 5])
    times, at = [], first + offset
    for n in range(count):
        if at > end + 15 * cadence or at > end + 3 * DAY:
            break
        times.append(at + random.randint(-jitter, jitter) // 3)
        at += cadence * (faster if n >= faster_at else 1) + (hole if n == hole_at else 0)
    return sorted(set(times))


def _links(
    random: Random,
    meters: Sequence[str],
    vehicles: Sequence[str],
    beats: Mapping[str, Sequence[Heartbeat]],
    start: int,
    end: int,
) -> list[Link]:
    links = []
    for meter in meters:
        if random.random() < 0.05:
            continue
        if random.random() < 0.45:
            source = random.choice(["link", "rule"])
            links.append(
                Link(meter, random.choice(vehicles), start - 9 * DAY, end + 9 * DAY, source)
            )
            continue
        known = [h.at for h in beats[meter] if start - HOUR <= h.at <= end + HOUR]
        at = start - random.choice([9 * DAY, HOUR, 0, -10 * MINUTE])
        while at < end + HOUR:
            until = random.choice(
                [
                    at + random.randint(1, 120) * MINUTE,
                    at + random.randint(1, 2 * HOUR),
                    random.choice(known or [start]),
                    random.choice(known or [start]) + random.choice([-1, 1, 20 * SECOND]),
                    start,
                    end,
                    end + 9 * DAY,
                ]
            )
            if until <= at:
                at += 7 * MINUTE
                continue
            if random.random() < 0.8:
                source = random.choice(["link", "heartbeat", "rule"])
                links.append(Link(meter, random.choice(vehicles), at, until, source))
            at = until
    return links
