"""TODO recstream/core/neighbours."""
