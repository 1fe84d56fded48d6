"""TODO recstream/core/ranking."""
