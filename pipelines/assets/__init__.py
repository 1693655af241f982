"""Assets of raw data, history, hours, days and marts."""
