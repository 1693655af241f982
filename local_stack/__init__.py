"""The whole stack on one machine, and the command line."""
