"""Clients of a collector: replay of recordings, status."""
