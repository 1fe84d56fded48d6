"""TODO recstream/trainer/deltas."""
