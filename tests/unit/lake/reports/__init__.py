"""Reports beside the tables."""
