"""↺ of the flow: the log again: state, lists and generations derived from it, and compared."""
