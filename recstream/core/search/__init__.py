"""TODO recstream/core/search."""
