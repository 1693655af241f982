"""Asset checks: rules and results."""
