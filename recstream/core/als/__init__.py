"""TODO recstream/core/als."""
