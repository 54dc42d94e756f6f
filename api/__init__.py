"""Processes that answer: a thin layer that starts workflows and streams their events."""
