"""What may fail: one class per noun, its dependencies behind the ports of its noun's `ports.py`."""
