"""Measurements, one subject a file."""
