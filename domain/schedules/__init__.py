"""Schedules: what comes again."""
