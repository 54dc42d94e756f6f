"""Postgres: tables, queries and migrations; one noun, one file."""
