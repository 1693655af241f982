"""Alerts: rules on live state and on computed efficiency, their evaluation and notification."""
