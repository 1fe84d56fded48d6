"""TODO recstream/core/popularity."""
