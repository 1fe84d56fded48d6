"""TODO recstream/core/evaluation."""
