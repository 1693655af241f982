"""Anomalies of a simulated fleet, as a real one has them."""

from dataclasses import dataclass, field, fields


def _share(default: float, of: str) -> float:
    described: float = field(default=default, metadata={"of": of})
    return described


@dataclass(frozen=True)
class Anomalies:
    """Shares of devices and heartbeats with an anomaly."""

    failing_chargers: float = _share(0.04, "of the chargers bring under 80 % into the battery")
    cold_batteries: float = _share(0.04, "of the vehicles charge a battery below zero")
    idle_vehicles: float = _share(0.08, "of the vehicles stay parked and draw standby power")
    registers: float = _share(0.10, "of the vehicles and their meters send registers")
    register_resets: float = _share(0.20, "of their sessions have one more reset in the middle")
    named_meters: float = _share(0.10, "of the vehicles name their meter; half of them swapped it")
    no_temperature: float = _share(0.03, "of the vehicles send no battery temperature")
    silent_spells: float = _share(0.015, "of the devices fall silent for 8-45 min in two hours")
    voltage_sags: float = _share(0.05, "of the feeders sag to 185-205 V for minutes in two hours")
    late: float = _share(0.02, "of the heartbeats come up to 60 min late, in quarterly bursts")
    duplicates: float = _share(0.01, "of the heartbeats are sent twice")

    @classmethod
    def descriptions(cls) -> list[str]:
        """One line for each, for the person who runs the simulation."""
        return [f"{anomaly.default:.1%} {anomaly.metadata['of']}" for anomaly in fields(cls)]
