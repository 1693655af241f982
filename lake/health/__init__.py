"""Health of the grid, of batteries, and of the reporting itself."""
