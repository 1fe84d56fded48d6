"""TODO recstream/core/content."""
