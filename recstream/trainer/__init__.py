"""TODO recstream/trainer."""
