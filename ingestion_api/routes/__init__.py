"""Endpoints for people and programs that read, one module a group of calls."""
