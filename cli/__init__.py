"""The `perdure` command: the stack on one machine, and the operators' verbs."""
