"""Metrics, logs, and the freshness of computed figures."""
