"""Processes that poll Temporal and do the work."""
