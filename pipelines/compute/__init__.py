"""Inputs of the computations, read from the lake and from Postgres."""
