"""Answers computed from live state and from the lake."""
