"""Years of history from files straight into the lake, by the collector's own rules."""
