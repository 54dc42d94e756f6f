"""The outside world, each part behind a port of `activities/<noun>/ports.py`."""
