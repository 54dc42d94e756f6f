"""Verbs for runs, and how they look while they go on."""
