"""Schedules: recurring work."""
