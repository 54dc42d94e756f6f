"""Activities, which may fail: one class per noun, its dependencies behind its noun's `ports.py`."""
