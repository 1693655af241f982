"""Connections to Postgres: the pool, and dedicated ones."""
