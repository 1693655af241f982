"""A simulated year of charging sessions, and the faults in it."""
