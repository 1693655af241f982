"""Health of the grid, of batteries, and of the reporting itself."""

from lake.health.cadence import LOOK_BACK

__all__ = ["LOOK_BACK"]
