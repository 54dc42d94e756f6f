"""The stack on one machine: its processes, started, watched, found again and stopped."""
