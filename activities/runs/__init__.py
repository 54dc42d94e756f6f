"""Runs of every kind: their attempts and their end, and the ports of the record and the engine."""
