"""Delivery of reports to those who have subscribed, by mail and by webhook."""
