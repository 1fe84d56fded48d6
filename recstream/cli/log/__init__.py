"""Commands that read or write the log: import, log, dead-letters, replay, export, forget."""
