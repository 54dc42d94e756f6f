"""Fakes behind ports. Each passes the conformance suite that its real part passes too."""
