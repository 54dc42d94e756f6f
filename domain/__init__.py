"""The language of the house: pure contracts, rules and names. No I/O, no frameworks."""
