"""Verification: every number recomputed from the raw heartbeats."""
