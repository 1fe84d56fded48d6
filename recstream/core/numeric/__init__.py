"""TODO recstream/core/numeric."""
