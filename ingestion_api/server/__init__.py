"""HTTP around the application: connections, compression, CORS, metrics of requests."""
