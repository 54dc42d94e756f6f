"""Measurements of the running stack, each beside a bare floor taken in the same run."""
