"""Steps of the nightly job that maintain tables and runs: merging, archive, retention."""
