"""Kinds of vehicles and meters: how they measure, and what befalls them."""

from dataclasses import dataclass, field
from typing import Final

from tests.harness.true_fleet.charging import Habit
from tests.harness.true_fleet.devices import (
    Device,
    contradicted,
    false_samples,
    freezes,
    interval,
    is_coarse,
    lost_at_random,
    lost_regularly,
    mixes_two_registers,
    register,
    repeated,
    restarts_in_between,
    restarts_with_session,
    rolls_over,
    silent,
    steps_back,
    wobbles,
)

SMALL_REGISTER: Final = "small-register"
"""Class of the chargers whose register rolls over at SMALL_REGISTER_KWH."""

SMALL_REGISTER_KWH: Final = 1_000.0

_HOUR: Final = 60.0  # minutes


@dataclass(frozen=True)
class Kind:
    """A kind of meter and vehicle."""

    name: str
    meter: Device
    vehicle: Device
    habit: Habit = field(default_factory=Habit)
    soc_apart: bool = False
    """State of charge and temperature come in heartbeats of their own, half a minute later."""

    charger_class: str | None = None
    is_rare: bool = False
    """A tenth as many vehicles: they send a lot."""


_ON_THE_HOUR: Final = Habit(ends_on_the_hour=1)
_MINUTE: Final = interval(60)
_MINUTE_REGISTER: Final = register(60)
_QUARTER: Final = interval(900, phase=0)


def _registers(name: str, meter: Device, vehicle: Device = _MINUTE_REGISTER) -> Kind:
    return Kind(f"register-{name}", meter, vehicle)


def _both(name: str, device: Device, habit: Habit | None = None) -> Kind:
    return Kind(name, device, device, habit or Habit())


KINDS: Final = (
    # cadences: meter-vehicle
    Kind("1s", interval(1), interval(1), is_rare=True),
    Kind("1s-60s", interval(1), _MINUTE, is_rare=True),
    _both("30s", interval(30)),
    _both("60s", _MINUTE),
    _both("60s-registers", _MINUTE_REGISTER),
    _both("60s-jitter", interval(60, jitter=12)),
    Kind("30s-60s", interval(30), _MINUTE),
    Kind("2min-30s", interval(120), interval(30)),
    Kind("5min-60s", interval(300), _MINUTE),
    Kind("60s-5min", _MINUTE, interval(300)),
    Kind("5min-30s-jitter", interval(300, jitter=40), interval(30, jitter=6)),
    _both("5min-out-of-step", interval(300)),
    Kind("15min-60s", _QUARTER, _MINUTE),
    Kind("60s-15min", _MINUTE, interval(900)),
    Kind("15min-60s-declared", interval(900, phase=0, declares_interval=True), _MINUTE),
    Kind("15min-60s-registers", register(900, phase=0), _MINUTE_REGISTER),
    _both("15min", _QUARTER),
    _both("15min-registers", register(900, phase=0)),
    _both("15min-registers-jitter", register(900, jitter=45, phase=0)),
    Kind("15min-out-of-step", interval(900, phase=0), interval(900, phase=420)),
    _both("hourly", interval(3600, phase=0)),
    Kind("hourly-60s", interval(3600, phase=0), _MINUTE),
    Kind("hourly-15min", interval(3600, jitter=60), _QUARTER),
    _both("hourly-out-of-step", interval(3600)),
    # heartbeats that are lost
    _both("lost-1%", _MINUTE.with_faults(lost_at_random(0.01))),
    _both("lost-5%", _MINUTE.with_faults(lost_at_random(0.05))),
    _both("lost-10%", _MINUTE.with_faults(lost_at_random(0.10))),
    _both("lost-33%", _MINUTE.with_faults(lost_at_random(0.33))),
    Kind("lost-33%-of-vehicle", _MINUTE, _MINUTE.with_faults(lost_at_random(0.33))),
    _both("lost-10%-of-5min", interval(300).with_faults(lost_at_random(0.10))),
    _both("lost-10%-of-registers", _MINUTE_REGISTER.with_faults(lost_at_random(0.10))),
    _both("lost-in-bursts", _MINUTE.with_faults(silent((3, 40), 8))),
    Kind("lost-4-of-5", _MINUTE, _MINUTE.with_faults(lost_regularly(1, 5))),
    Kind("lost-1-of-3", _MINUTE, _MINUTE.with_faults(lost_regularly(2, 3))),
    Kind(
        "lost-4-of-5-declared",
        _MINUTE,
        interval(60, declares_interval=True).with_faults(lost_regularly(1, 5)),
    ),
    # registers
    _registers("wobbles", _MINUTE_REGISTER.with_faults(wobbles(0.11))),
    _registers("coarse", _MINUTE_REGISTER.with_faults(is_coarse(0.1))),
    _registers("coarse-5min", register(300).with_faults(is_coarse(0.1))),
    _both("register-of-session", _MINUTE_REGISTER.with_faults(restarts_with_session)),
    _registers("restarts", _MINUTE_REGISTER.with_faults(restarts_in_between)),
    Kind(
        "register-rolls-over",
        _MINUTE_REGISTER.with_faults(rolls_over(SMALL_REGISTER_KWH)),
        _MINUTE_REGISTER,
        charger_class=SMALL_REGISTER,
    ),
    _registers("false-zero", _MINUTE_REGISTER.with_faults(false_samples(4, zero=True))),
    _registers("false-zero-5min", register(300).with_faults(false_samples(4, zero=True))),
    _registers("spike", _MINUTE_REGISTER.with_faults(false_samples(4, zero=False))),
    _registers("freezes", _MINUTE_REGISTER.with_faults(freezes((3, 0.8 * _HOUR), 6))),
    _registers("freezes-long", _MINUTE_REGISTER.with_faults(freezes((2 * _HOUR, 5 * _HOUR), 1))),
    _registers("steps-back", _MINUTE_REGISTER.with_faults(steps_back(0.5, 3))),
    _registers("silent", _MINUTE_REGISTER.with_faults(silent((2 * _HOUR, 62 * _HOUR), 0.6))),
    _both("registers-silent", register(300).with_faults(silent((2 * _HOUR, 62 * _HOUR), 0.6))),
    _registers("mixed", _MINUTE_REGISTER.with_faults(mixes_two_registers)),
    # what is received
    _both("repeated", _MINUTE.with_faults(repeated(0.05))),
    _both("contradicted", _MINUTE.with_faults(contradicted(0.002))),
    _registers("contradicted", _MINUTE_REGISTER.with_faults(contradicted(0.01))),
    Kind("soc-apart", _MINUTE, _MINUTE, soc_apart=True),
    Kind("soc-apart-registers", _MINUTE_REGISTER, _MINUTE_REGISTER, soc_apart=True),
    # sessions
    _both("ends-on-the-hour", _MINUTE, _ON_THE_HOUR),
    Kind("ends-on-the-hour-5min-60s", interval(300, phase=120), _MINUTE, _ON_THE_HOUR),
    Kind("ends-on-the-hour-60s-5min", _MINUTE, interval(300, phase=60), _ON_THE_HOUR),
    Kind("midnight", _MINUTE, _MINUTE, Habit(at_midnight=True)),
    Kind("midnight-15min-60s", interval(900), _MINUTE, Habit(at_midnight=True)),
)
