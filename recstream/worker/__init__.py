"""TODO recstream/worker."""
