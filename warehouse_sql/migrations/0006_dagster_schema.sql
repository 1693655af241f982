-- Dagster keeps its runs and events in the same database, apart from ours.
CREATE SCHEMA IF NOT EXISTS dagster;
