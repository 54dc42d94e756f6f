"""Callers: who they are, their roles and scopes."""
