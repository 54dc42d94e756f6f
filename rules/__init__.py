"""Rules, one file each, in the language that `domain/scoring/rules.py` describes."""
