"""The command line, `wattlake`."""
