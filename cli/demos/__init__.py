"""Demos: the product shown on a stack of its own, unattended."""
