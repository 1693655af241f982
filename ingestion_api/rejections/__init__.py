"""Refused records, kept for the operator."""
