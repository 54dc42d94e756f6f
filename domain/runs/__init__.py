"""Runs: what every kind of work has in common. No kind's own words live here."""
