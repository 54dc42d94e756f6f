"""Authentication: credentials in, a caller out."""
