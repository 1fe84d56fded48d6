"""Pure functions over values: no clock, no I/O, no logging, no global randomness."""
