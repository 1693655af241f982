"""Alerts: rules on live state and on computed efficiency, and how their findings are told."""
