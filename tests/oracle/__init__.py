"""The energy mathematics of docs/energy.md, row by row in plain Python, and tests against it."""
