"""Workflows: deterministic, without I/O. Start here to read how a piece of work goes."""
