"""Decoding and validation of heartbeats: from bytes to columns."""
