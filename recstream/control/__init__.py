"""TODO recstream/control."""
