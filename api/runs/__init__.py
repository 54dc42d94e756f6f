"""Runs over HTTP: state, events, streams, starts."""
