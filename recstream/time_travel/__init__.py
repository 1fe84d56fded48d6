"""TODO recstream/time_travel."""
