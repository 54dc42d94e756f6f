"""Verbs for leads and their files."""
