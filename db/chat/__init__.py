"""Threads, their turns and messages; the floor is given here."""
