"""Tests of everything that a user relies on, on real Postgres, Delta, HTTP and Dagster."""

import logging

# Tests import the pipelines without a database of their own: its absence is no news.
logging.getLogger("pipelines.first_partition").setLevel(logging.ERROR)
