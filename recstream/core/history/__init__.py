"""TODO recstream/core/history."""
