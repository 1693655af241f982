"""A simulated year of charging sessions, the faults in it, and how well they are found."""
