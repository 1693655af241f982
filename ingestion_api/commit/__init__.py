"""Group commit: one Postgres transaction for all heartbeats that wait."""
