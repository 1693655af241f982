"""The performance of a vehicle over a window: energy, efficiency and its evidence."""
