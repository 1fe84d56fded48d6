"""TODO recstream/core/generation."""
