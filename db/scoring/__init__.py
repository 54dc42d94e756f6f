"""Scores and all that makes and compares them."""
