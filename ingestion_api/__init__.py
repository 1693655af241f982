"""The collector: takes heartbeats over HTTP, commits them, brings them to the lake, and answers."""
