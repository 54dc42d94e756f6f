"""What drivers do: load, readers and floors, in processes of their own."""
