"""TODO recstream/core/steering."""
