"""TODO recstream/bridge/push."""
