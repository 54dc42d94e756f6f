"""Jobs of drivers: load, readers and floors, in processes of their own."""
