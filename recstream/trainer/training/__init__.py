"""TODO recstream/trainer/training."""
