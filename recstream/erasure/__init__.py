"""TODO recstream/erasure."""
