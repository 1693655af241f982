"""The ingest endpoints and their answers."""
