"""Repeatable measurements of the real stack: `python -m benchmarks SUITE --help`."""
