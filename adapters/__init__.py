"""The outside world, each part behind a port of `activities/ports.py`."""
