"""TODO recstream/models."""
