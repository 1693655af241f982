"""The ingest endpoints, and what they answer."""
