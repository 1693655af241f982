"""The faults that are put into a simulated year, and which devices have one."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

METER, VEHICLE = "meter", "vehicle"
DRIFT: Final = "slow_drift"
DROP: Final = "sudden_drop"
STUCK: Final = "stuck_register"
SLIPPING: Final = "slipping_register"
SWAPPED: Final = "swapped_link"
CLOCK: Final = "clock_error"
SCALE: Final = "wrong_scale"
PHASE: Final = "missing_phase"

# Which share of the devices of a kind has the fault. Swapped links are of meters, in pairs.
SHARES: Final = {
    (DRIFT, METER): 0.06,
    (DRIFT, VEHICLE): 0.06,
    (DROP, METER): 0.02,
    (DROP, VEHICLE): 0.02,
    (STUCK, METER): 0.005,
    (STUCK, VEHICLE): 0.005,
    (SLIPPING, METER): 0.005,
    (SLIPPING, VEHICLE): 0.005,
    (SWAPPED, METER): 0.01,
    (CLOCK, METER): 0.005,
    (CLOCK, VEHICLE): 0.005,
    (SCALE, METER): 0.005,
    (SCALE, VEHICLE): 0.005,
    (PHASE, METER): 0.01,
}
FIRST_DAY, LAST_DAY = 90, 300
DAYS_A_MONTH: Final = 365.25 / 12
LOWEST: Final = 0.55


@dataclass(frozen=True)
class Fault:
    """A fault of one device: `size` is the loss a month, the loss, the factor, or hours."""

    kind: str
    device_kind: str
    device: int
    day: float
    size: float
    partner: int = -1
    """The meter whose vehicle it has, of a swapped link."""

    def efficiency_factor(self, day: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the part of the usual efficiency that is left at a time, in days of the year."""
        since = np.maximum(day - self.day, 0)
        left = np.ones_like(day)
        if self.kind == DRIFT:
            left = np.maximum(np.exp(-self.size * since / DAYS_A_MONTH), LOWEST)
        elif self.kind == DROP:
            left = np.where(since > 0, 1 - self.size, 1.0)
        return left


def faults_of(
    rng: np.random.Generator,
    candidates: dict[tuple[str, str], npt.NDArray[np.int64]],
    counts: dict[str, int],
) -> list[Fault]:
    """Return faults of devices at random, at most one each, only of those that can have them."""
    taken: set[tuple[str, int]] = set()
    faults: list[Fault] = []
    # the fewest candidates first
    for (kind, device_kind), share in sorted(
        SHARES.items(), key=lambda item: len(candidates[item[0]])
    ):
        free = [n for n in candidates[kind, device_kind].tolist() if (device_kind, n) not in taken]
        wanted = min(max(1, round(share * counts[device_kind])), len(free))
        wanted += wanted % 2 if kind == SWAPPED else 0
        chosen = rng.choice(free, wanted, replace=False).tolist() if wanted else []
        taken.update((device_kind, device) for device in chosen)
        day = 0.0
        for at, device in enumerate(chosen):
            partner = chosen[at ^ 1] if kind == SWAPPED else -1
            if kind != SWAPPED or at % 2 == 0:
                day = float(rng.uniform(FIRST_DAY, LAST_DAY))
            faults.append(Fault(kind, device_kind, device, day, _size(rng, kind), partner))
    return faults


def _size(rng: np.random.Generator, kind: str) -> float:
    if kind == DRIFT:
        return float(rng.uniform(0.008, 0.04))
    if kind == DROP:
        return float(rng.uniform(0.05, 0.15))
    if kind == CLOCK:
        return float(rng.choice([1.0, 2.0, 12.0]))
    if kind == SCALE:
        return float(rng.choice([1000.0, 0.001, 60.0, 12.0]))
    return 1.0
