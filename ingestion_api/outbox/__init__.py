"""The transactional outbox: heartbeats from Postgres to Delta, exactly once."""
