"""Random numbers without state: the same seed, question and integers give the same number."""

import hashlib

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_GOLDEN_RATIO = 0.6180339887498949


class Chance:
    """Source of random numbers that follow from a seed, a question and integers alone."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def uniform(self, question: str, *integers: Ints) -> Floats:
        """A number in [0, 1) for each tuple of the (broadcast) integer arrays."""
        state = np.array([self._start(question)], dtype=np.uint64)
        for values in integers:
            state = _mix(state ^ _mix(values.astype(np.uint64)))
        return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def below(self, limit: int, question: str, *integers: Ints) -> Ints:
        """An integer in [0, limit) for each tuple of the integer arrays."""
        return (self.uniform(question, *integers) * limit).astype(np.int64)

    def stratified(self, question: str, numbers: Ints) -> Floats:
        """Low-discrepancy numbers in [0, 1) for consecutive integers: few of them leave no gap."""
        start = self._start(question) * 2.0**-64
        spread: Floats = np.modf(start + numbers * np.float64(_GOLDEN_RATIO))[0]
        return spread

    def _start(self, question: str) -> int:
        digest = hashlib.blake2b(f"{self._seed}/{question}".encode(), digest_size=8)
        return int.from_bytes(digest.digest(), "big")


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    values = np.atleast_1d(values) + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
