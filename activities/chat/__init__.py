"""What a turn does to the world."""
