"""TODO recstream/bridge/views."""
