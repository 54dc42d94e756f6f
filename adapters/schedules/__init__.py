"""Temporal Schedules, which are their only record."""
