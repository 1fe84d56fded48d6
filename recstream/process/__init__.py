"""TODO recstream/process."""
