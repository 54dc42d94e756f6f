"""What every implementation of a port must do: one suite for the fake and for PostgreSQL."""
