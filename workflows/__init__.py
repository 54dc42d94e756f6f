"""What must survive: deterministic, no I/O. Start here to read how a piece of work goes."""
