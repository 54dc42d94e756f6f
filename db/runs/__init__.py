"""Runs and their events: one life-cycle, one log. No noun above may be named here."""
