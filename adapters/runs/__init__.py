"""Temporal: the engine that runs workflows, and the edge of activities."""
