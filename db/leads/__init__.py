"""Leads, their behaviour, and requests for new scores."""
