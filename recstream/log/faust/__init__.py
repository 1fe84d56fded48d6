"""TODO recstream/log/faust."""
