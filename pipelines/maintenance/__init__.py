"""Assets that maintain tables and runs: merging, archive, retention."""
