"""What scoring does to the world."""
