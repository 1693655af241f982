"""Documents, and the writer of those that follow from the code: `make docs`."""
