"""Postgres: migrations, named queries, and what runs them."""
