"""TODO recstream/runtime."""
